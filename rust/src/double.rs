//! The maps in float64: the normal distribution and its tails, as `_stream/bits/gauss.py` states them.

/// How two words (or one, for a float32 tensor) become a number by way of float64.
#[derive(Clone, Copy)]
pub enum Double {
    Constant(f64),
    Uniform {
        middle: f64,
        half: f64,
    },
    /// The density is flat: `start + width · u`.
    Flat {
        start: f64,
        width: f64,
    },
    /// The part of the upper or the lower tail next to `start` sigmas.
    Tail {
        anchor: f64,
        std: f64,
        start: f64,
        share: f64,
        upper: bool,
    },
    /// Between two points on both sides of the mean.
    Both {
        mean: f64,
        std: f64,
        below: f64,
        above: f64,
        mass: f64,
    },
}

const LN2_HIGH: f64 = f64::from_bits(0x3FE6_2E42_FEE0_0000);
const LN2_LOW: f64 = f64::from_bits(0x3DEA_39EF_3579_3C76);
const SQRT_HALF: f64 = f64::from_bits(0x3FE6_A09E_667F_3BCD);

const LOG_TERMS: [f64; 12] = [
    f64::from_bits(0x3FA6_42C8_590B_2164),
    f64::from_bits(0x3FA8_6186_1861_8618),
    f64::from_bits(0x3FAA_F286_BCA1_AF28),
    f64::from_bits(0x3FAE_1E1E_1E1E_1E1E),
    f64::from_bits(0x3FB1_1111_1111_1111),
    f64::from_bits(0x3FB3_B13B_13B1_3B14),
    f64::from_bits(0x3FB7_45D1_745D_1746),
    f64::from_bits(0x3FBC_71C7_1C71_C71C),
    f64::from_bits(0x3FC2_4924_9249_2492),
    f64::from_bits(0x3FC9_9999_9999_999A),
    f64::from_bits(0x3FD5_5555_5555_5555),
    f64::from_bits(0x3FF0_0000_0000_0000),
];

const MILLS_TERMS: [f64; 24] = [
    f64::from_bits(0x3FF2_8728_83BE_576D),
    f64::from_bits(0xBFC4_E87C_A927_4BA0),
    f64::from_bits(0xBF8C_05E7_6EEE_2EDA),
    f64::from_bits(0x3F9F_8FCD_6B64_802C),
    f64::from_bits(0xBF90_9BFE_AC80_7C0F),
    f64::from_bits(0x3F77_0187_03A3_90E4),
    f64::from_bits(0xBF57_2833_9587_DC9B),
    f64::from_bits(0x3F30_66B5_7367_5334),
    f64::from_bits(0xBEF9_E36C_22E0_87E5),
    f64::from_bits(0xBEB0_F556_66E3_C92C),
    f64::from_bits(0x3EA9_2684_1BCF_91AA),
    f64::from_bits(0xBE74_66DE_63A5_4510),
    f64::from_bits(0xBE48_DB4C_42CC_EF95),
    f64::from_bits(0x3E2C_A231_C26D_A126),
    f64::from_bits(0x3DD4_B86C_7F98_8C80),
    f64::from_bits(0xBDDE_85EB_5A83_4F29),
    f64::from_bits(0x3D8E_DE1D_4EB4_D434),
    f64::from_bits(0x3D90_3A00_A499_807B),
    f64::from_bits(0xBD50_732B_E725_FE58),
    f64::from_bits(0xBD42_ADAB_42F6_8893),
    f64::from_bits(0x3D06_5779_848F_D7EE),
    f64::from_bits(0x3CF7_C2D1_D276_BF94),
    f64::from_bits(0xBCB8_4E44_5975_6919),
    f64::from_bits(0xBCB0_6EA8_7375_C5B4),
];

impl Double {
    /// The number for a probability in (0, 1).
    #[inline(always)]
    pub fn map(&self, probability: f64) -> f64 {
        match *self {
            Double::Constant(value) => value,
            Double::Uniform { middle, half } => middle + half * (2.0 * probability - 1.0),
            Double::Flat { start, width } => start + width * probability,
            Double::Tail {
                anchor,
                std,
                start,
                share,
                upper,
            } => {
                let rest = if upper {
                    probability
                } else {
                    1.0 - probability
                };
                let distance = std * into_tail(start, 1.0 - rest * share);
                if upper {
                    anchor + distance
                } else {
                    anchor - distance
                }
            }
            Double::Both {
                mean,
                std,
                below,
                above,
                mass,
            } => {
                let under = below + mass * probability;
                let over = above + mass * (1.0 - probability);
                mean + std * from_both_tails(under, over)
            }
        }
    }
}

fn from_both_tails(below: f64, above: f64) -> f64 {
    let smaller = if below < above { below } else { above };
    let twice = 2.0 * smaller;
    let size = into_tail(0.0, if twice < 1.0 { twice } else { 1.0 });
    if below < above {
        -size
    } else {
        size
    }
}

/// How far beyond `start` the point lies that leaves `share` of the tail above it: three Halley steps.
fn into_tail(start: f64, share: f64) -> f64 {
    let target = -log(share);
    let at_start = mills(start);
    let slope = 1.0 / at_start;
    let bend = 1.0 - 0.36 / ((start + 1.0) * (start + 1.0));
    let mut distance = (target + target) / (slope + (slope * slope + (2.0 * bend) * target).sqrt());
    for _ in 0..3 {
        let point = start + distance;
        let ratio = mills(point);
        let excess = (distance * (start + 0.5 * distance) - log(ratio / at_start)) - target;
        let step = excess * ratio;
        distance -= step / (1.0 - (0.5 * step) * (1.0 / ratio - point));
        distance = if distance > 0.0 { distance } else { 0.0 };
    }
    distance
}

/// Mills' ratio by Clenshaw's recurrence, the last term first.
fn mills(x: f64) -> f64 {
    let at = (x - 5.0) / (x + 5.0);
    let twice = at + at;
    let mut later = 0.0;
    let mut total = MILLS_TERMS[23];
    for &term in MILLS_TERMS[1..23].iter().rev() {
        let next = (twice * total - later) + term;
        later = total;
        total = next;
    }
    ((at * total - later) + MILLS_TERMS[0]) / (x + 1.0)
}

/// The natural logarithm: twelve terms of the series of artanh.
fn log(x: f64) -> f64 {
    let (mut mantissa, mut exponent) = split(x);
    if mantissa < SQRT_HALF {
        mantissa *= 2.0;
        exponent -= 1;
    }
    let power = f64::from(exponent);
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    let mut total = LOG_TERMS[0] * square;
    for &term in &LOG_TERMS[1..11] {
        total += term;
        total *= square;
    }
    let twice = ratio + ratio;
    power * LN2_HIGH + ((twice + twice * total) + power * LN2_LOW)
}

/// Mantissa in [½, 1) and exponent of a positive number; zero gives zero.
fn split(x: f64) -> (f64, i32) {
    if x == 0.0 {
        return (0.0, 0);
    }
    let (x, shift) = if x < f64::MIN_POSITIVE {
        (x * 18_014_398_509_481_984.0, -54)
    } else {
        (x, 0)
    };
    let pattern = x.to_bits();
    let exponent = ((pattern >> 52) & 0x7FF) as i32 - 1022;
    (
        f64::from_bits((pattern & 0x000F_FFFF_FFFF_FFFF) | 0x3FE0_0000_0000_0000),
        exponent + shift,
    )
}
