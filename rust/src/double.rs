//! The maps in float64: the normal distribution and its tails, as `_stream/bits/gauss.py` states them.

use crate::bits::double;

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

const LN2_HIGH: f64 = double(0x3FE6_2E42_FEE0_0000);
const LN2_LOW: f64 = double(0x3DEA_39EF_3579_3C76);
const SQRT_HALF: f64 = double(0x3FE6_A09E_667F_3BCD);

const LOG_TERMS: [f64; 12] = [
    double(0x3FA6_42C8_590B_2164),
    double(0x3FA8_6186_1861_8618),
    double(0x3FAA_F286_BCA1_AF28),
    double(0x3FAE_1E1E_1E1E_1E1E),
    double(0x3FB1_1111_1111_1111),
    double(0x3FB3_B13B_13B1_3B14),
    double(0x3FB7_45D1_745D_1746),
    double(0x3FBC_71C7_1C71_C71C),
    double(0x3FC2_4924_9249_2492),
    double(0x3FC9_9999_9999_999A),
    double(0x3FD5_5555_5555_5555),
    double(0x3FF0_0000_0000_0000),
];

const MILLS_TERMS: [f64; 24] = [
    double(0x3FF2_8728_83BE_576D),
    double(0xBFC4_E87C_A927_4BA0),
    double(0xBF8C_05E7_6EEE_2EDA),
    double(0x3F9F_8FCD_6B64_802C),
    double(0xBF90_9BFE_AC80_7C0F),
    double(0x3F77_0187_03A3_90E4),
    double(0xBF57_2833_9587_DC9B),
    double(0x3F30_66B5_7367_5334),
    double(0xBEF9_E36C_22E0_87E5),
    double(0xBEB0_F556_66E3_C92C),
    double(0x3EA9_2684_1BCF_91AA),
    double(0xBE74_66DE_63A5_4510),
    double(0xBE48_DB4C_42CC_EF95),
    double(0x3E2C_A231_C26D_A126),
    double(0x3DD4_B86C_7F98_8C80),
    double(0xBDDE_85EB_5A83_4F29),
    double(0x3D8E_DE1D_4EB4_D434),
    double(0x3D90_3A00_A499_807B),
    double(0xBD50_732B_E725_FE58),
    double(0xBD42_ADAB_42F6_8893),
    double(0x3D06_5779_848F_D7EE),
    double(0x3CF7_C2D1_D276_BF94),
    double(0xBCB8_4E44_5975_6919),
    double(0xBCB0_6EA8_7375_C5B4),
];

/// Numbers that take each step together, so that a processor has work while quotients and roots are due.
const ABREAST: usize = 64;
type Numbers = [f64; ABREAST];

impl Double {
    /// Probabilities in (0, 1) into their numbers; as many as a multiple of 64.
    #[inline(always)]
    pub fn map_all(&self, numbers: &mut [f64]) {
        match *self {
            Double::Constant(value) => numbers.fill(value),
            Double::Uniform { middle, half } => {
                for number in numbers {
                    *number = middle + half * (2.0 * *number - 1.0);
                }
            }
            Double::Flat { start, width } => {
                for number in numbers {
                    *number = start + width * *number;
                }
            }
            Double::Tail { .. } | Double::Both { .. } => {
                for numbers in numbers.chunks_exact_mut(ABREAST) {
                    let mut drawn = [0.0; ABREAST];
                    drawn.copy_from_slice(numbers);
                    numbers.copy_from_slice(&self.by_tails(drawn));
                }
            }
        }
    }

    #[inline(always)]
    fn by_tails(&self, probability: Numbers) -> Numbers {
        match *self {
            Double::Tail {
                anchor,
                std,
                start,
                share,
                upper: true,
            } => {
                let distance = into_tail(start, each(|lane| 1.0 - probability[lane] * share));
                each(|lane| anchor + std * distance[lane])
            }
            Double::Tail {
                anchor,
                std,
                start,
                share,
                upper: false,
            } => {
                let left = each(|lane| 1.0 - (1.0 - probability[lane]) * share);
                let distance = into_tail(start, left);
                each(|lane| anchor - std * distance[lane])
            }
            Double::Both {
                mean,
                std,
                below,
                above,
                mass,
            } => {
                let under = each(|lane| below + mass * probability[lane]);
                let over = each(|lane| above + mass * (1.0 - probability[lane]));
                let sigmas = from_both_tails(under, over);
                each(|lane| mean + std * sigmas[lane])
            }
            _ => probability,
        }
    }
}

#[inline(always)]
fn each(number: impl Fn(usize) -> f64) -> Numbers {
    let mut numbers = [0.0; ABREAST];
    for (lane, place) in numbers.iter_mut().enumerate() {
        *place = number(lane);
    }
    numbers
}

#[inline(always)]
fn from_both_tails(below: Numbers, above: Numbers) -> Numbers {
    let share = each(|lane| {
        let smaller = if below[lane] < above[lane] {
            below[lane]
        } else {
            above[lane]
        };
        let twice = 2.0 * smaller;
        if twice < 1.0 {
            twice
        } else {
            1.0
        }
    });
    let size = into_tail(0.0, share);
    each(|lane| {
        if below[lane] < above[lane] {
            -size[lane]
        } else {
            size[lane]
        }
    })
}

/// How far beyond `start` the point lies that leaves `share` of the tail above it: three Halley steps.
#[inline(always)]
fn into_tail(start: f64, share: Numbers) -> Numbers {
    let minus_target = log(share);
    let at_start = mills_of_one(start);
    let slope = 1.0 / at_start;
    let bend = 1.0 - 0.36 / ((start + 1.0) * (start + 1.0));
    let mut distance = each(|lane| {
        let target = -minus_target[lane];
        (target + target) / (slope + (slope * slope + (2.0 * bend) * target).sqrt())
    });
    for _ in 0..3 {
        let point = each(|lane| start + distance[lane]);
        let ratio = mills(point);
        let fallen = log(each(|lane| ratio[lane] / at_start));
        distance = each(|lane| {
            let (distance, ratio) = (distance[lane], ratio[lane]);
            let target = -minus_target[lane];
            let excess = (distance * (start + 0.5 * distance) - fallen[lane]) - target;
            let step = excess * ratio;
            let next = distance - step / (1.0 - (0.5 * step) * (1.0 / ratio - point[lane]));
            if next > 0.0 {
                next
            } else {
                0.0
            }
        });
    }
    distance
}

/// Mills' ratio by Clenshaw's recurrence, the last term first.
#[inline(always)]
fn mills(x: Numbers) -> Numbers {
    let at = each(|lane| (x[lane] - 5.0) / (x[lane] + 5.0));
    let mut later = [0.0; ABREAST];
    let mut total = [MILLS_TERMS[23]; ABREAST];
    for &term in MILLS_TERMS[1..23].iter().rev() {
        for lane in 0..ABREAST {
            let next = ((at[lane] + at[lane]) * total[lane] - later[lane]) + term;
            later[lane] = total[lane];
            total[lane] = next;
        }
    }
    each(|lane| ((at[lane] * total[lane] - later[lane]) + MILLS_TERMS[0]) / (x[lane] + 1.0))
}

fn mills_of_one(x: f64) -> f64 {
    let at = (x - 5.0) / (x + 5.0);
    let (mut later, mut total) = (0.0, MILLS_TERMS[23]);
    for &term in MILLS_TERMS[1..23].iter().rev() {
        (later, total) = (total, ((at + at) * total - later) + term);
    }
    ((at * total - later) + MILLS_TERMS[0]) / (x + 1.0)
}

/// The natural logarithm: twelve terms of the series of artanh.
#[inline(always)]
fn log(x: Numbers) -> Numbers {
    let mut power = [0.0; ABREAST];
    let mut ratio = [0.0; ABREAST];
    for lane in 0..ABREAST {
        let (mantissa, exponent) = split(x[lane]);
        let below = mantissa < SQRT_HALF;
        let mantissa = if below { mantissa * 2.0 } else { mantissa };
        power[lane] = if below { exponent - 1.0 } else { exponent };
        ratio[lane] = (mantissa - 1.0) / (mantissa + 1.0);
    }
    let square = each(|lane| ratio[lane] * ratio[lane]);
    let mut total = each(|lane| LOG_TERMS[0] * square[lane]);
    for &term in &LOG_TERMS[1..11] {
        total = each(|lane| (total[lane] + term) * square[lane]);
    }
    each(|lane| {
        let twice = ratio[lane] + ratio[lane];
        power[lane] * LN2_HIGH + ((twice + twice * total[lane]) + power[lane] * LN2_LOW)
    })
}

/// Mantissa in [½, 1) and exponent of a positive number; zero gives zero. Without a branch.
#[inline(always)]
fn split(x: f64) -> (f64, f64) {
    let small = x < f64::MIN_POSITIVE;
    let scaled = if small {
        x * 18_014_398_509_481_984.0
    } else {
        x
    };
    let shift = if small { -54.0 } else { 0.0 };
    let pattern = scaled.to_bits();
    // The exponent's bits as the last ones of a number's digits: a conversion that every vector unit has.
    let exponent =
        f64::from_bits((pattern >> 52) | 0x4330_0000_0000_0000) - 4_503_599_627_370_496.0;
    let mantissa = f64::from_bits((pattern & 0x000F_FFFF_FFFF_FFFF) | 0x3FE0_0000_0000_0000);
    if x == 0.0 {
        (0.0, 0.0)
    } else {
        (mantissa, exponent - 1022.0 + shift)
    }
}
