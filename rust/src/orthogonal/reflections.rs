//! The arithmetic: a panel's Householder reflections, and a panel's reflections applied to other columns.
//!
//! Every sum is taken term by term in the order of its rows, or of the panel's columns, and no operation is
//! fused: that is all that the bits depend on. `docs/initializers.md` has the steps.

use super::eights::Eights;

/// Columns of a panel, and of a strip: strips hold columns side by side, row by row.
pub const WIDTH: usize = 48;
pub const STRIP: usize = 8;
/// Rows that are taken together: so many of a panel stay in the innermost cache.
const ROWS: usize = 64;

/// The reflections of a panel: I − tau v vᵀ for each column, as I − V T Vᵀ together.
#[derive(Clone, Copy)]
pub struct Panel {
    /// The columns `v`, row by row.
    pub vectors: *mut f64,
    pub rows: usize,
    /// Numbers from one row to the next.
    pub stride: usize,
    /// How many reflections.
    pub width: usize,
    /// The products of column c with column k at c · WIDTH + k, c < k.
    pub products: *mut f64,
    pub taus: *mut f64,
    /// The sign of R's diagonal.
    pub signs: *mut f64,
}

/// Take the columns of a panel for its reflections.
#[inline(always)]
pub unsafe fn factor<E: Eights>(panel: &Panel) {
    match panel.stride / STRIP {
        1 => factor_strips::<E, 1>(panel),
        2 => factor_strips::<E, 2>(panel),
        3 => factor_strips::<E, 3>(panel),
        4 => factor_strips::<E, 4>(panel),
        5 => factor_strips::<E, 5>(panel),
        _ => factor_strips::<E, 6>(panel),
    }
}

#[inline(always)]
unsafe fn factor_strips<E: Eights, const S: usize>(panel: &Panel) {
    let mut factors = [0.0f64; WIDTH];
    for column in 0..panel.width {
        let mut sums = [0.0f64; WIDTH];
        sum_below::<E, S>(panel, column, &factors, &mut sums);
        let row = panel.vectors.add(column * panel.stride);
        let first = *row.add(column);
        let norm = (sums[column] + first * first).sqrt();
        let toward = if first < 0.0 { -norm } else { norm };
        let head = first + toward;
        let tau = if norm == 0.0 {
            0.0
        } else {
            1.0 / (toward * head)
        };
        *panel.taus.add(column) = tau;
        *panel.signs.add(column) = if norm == 0.0 || first < 0.0 {
            1.0
        } else {
            -1.0
        };
        *row.add(column) = head;
        factors = [0.0; WIDTH];
        for other in 0..panel.width {
            let product = sums[other] + head * *row.add(other);
            if other < column {
                *panel.products.add(other * WIDTH + column) = product;
            } else if other > column {
                factors[other] = tau * product;
            }
        }
    }
    for row in 0..panel.width {
        for column in row + 1..panel.stride {
            *panel.vectors.add(row * panel.stride + column) = 0.0;
        }
    }
}

/// Reflect the rows by the column before, and add up the products of `column` with all, below its first row.
#[inline(always)]
unsafe fn sum_below<E: Eights, const S: usize>(
    panel: &Panel,
    column: usize,
    factors: &[f64; WIDTH],
    sums: &mut [f64; WIDTH],
) {
    let mut total = [E::all(0.0); S];
    for at in column..panel.rows {
        let row = panel.vectors.add(at * panel.stride);
        if column > 0 {
            let by = E::all(*row.add(column - 1));
            for strip in column / STRIP..S {
                let place = row.add(strip * STRIP);
                let taken = E::times(by, E::load(factors.as_ptr().add(strip * STRIP)));
                E::store(E::minus(E::load(place), taken), place);
            }
        }
        if at > column {
            let by = E::all(*row.add(column));
            for (strip, each) in total.iter_mut().enumerate() {
                *each = E::plus(*each, E::times(by, E::load(row.add(strip * STRIP))));
            }
        }
    }
    for (strip, each) in total.iter().enumerate() {
        E::store(*each, sums.as_mut_ptr().add(strip * STRIP));
    }
}

/// Apply a panel's reflections to strips of columns, from the last reflection to the first, or backward.
///
/// `strips` points at the panel's first row in the first strip; `step` is from one strip to the next; `space`
/// holds `count` · WIDTH · STRIP numbers.
#[inline(always)]
pub unsafe fn apply<E: Eights>(
    panel: &Panel,
    strips: *mut f64,
    step: usize,
    count: usize,
    backward: bool,
    space: *mut f64,
) {
    let size = WIDTH * STRIP;
    std::ptr::write_bytes(space, 0, count * size);
    let mut from = 0;
    while from < panel.rows {
        let rows = ROWS.min(panel.rows - from);
        for strip in 0..count {
            let place = strips.add(strip * step + from * STRIP);
            add_products::<E>(panel, from, rows, place, space.add(strip * size));
        }
        from += rows;
    }
    for strip in 0..count {
        solve::<E>(panel, backward, space.add(strip * size));
    }
    from = 0;
    while from < panel.rows {
        let rows = ROWS.min(panel.rows - from);
        for strip in 0..count {
            let place = strips.add(strip * step + from * STRIP);
            subtract::<E>(panel, from, rows, place, space.add(strip * size));
        }
        from += rows;
    }
}

/// W += Vᵀ C for these rows of a strip.
#[inline(always)]
unsafe fn add_products<E: Eights>(
    panel: &Panel,
    from: usize,
    rows: usize,
    strip: *const f64,
    sums: *mut f64,
) {
    let mut column = 0;
    let vectors = panel.vectors.add(from * panel.stride);
    while column < panel.width {
        let left = panel.width - column;
        let (v, w) = (vectors.add(column), sums.add(column * STRIP));
        let step = panel.stride;
        column += if E::ABREAST >= 12 && left >= 12 {
            sum_columns::<E, 12>(rows, v, step, strip, w)
        } else if E::ABREAST >= 6 && left >= 6 {
            sum_columns::<E, 6>(rows, v, step, strip, w)
        } else if E::ABREAST >= 4 && left >= 4 {
            sum_columns::<E, 4>(rows, v, step, strip, w)
        } else if left >= 2 {
            sum_columns::<E, 2>(rows, v, step, strip, w)
        } else {
            sum_columns::<E, 1>(rows, v, step, strip, w)
        };
    }
}

#[inline(always)]
unsafe fn sum_columns<E: Eights, const K: usize>(
    rows: usize,
    vectors: *const f64,
    stride: usize,
    strip: *const f64,
    sums: *mut f64,
) -> usize {
    let mut total = [E::all(0.0); K];
    for (column, each) in total.iter_mut().enumerate() {
        *each = E::load(sums.add(column * STRIP));
    }
    for row in 0..rows {
        let numbers = E::load(strip.add(row * STRIP));
        for (column, each) in total.iter_mut().enumerate() {
            let by = E::all(*vectors.add(row * stride + column));
            *each = E::plus(*each, E::times(by, numbers));
        }
    }
    for (column, each) in total.iter().enumerate() {
        E::store(*each, sums.add(column * STRIP));
    }
    K
}

/// Y = T W, or Tᵀ W: by substitution, as T⁻¹ has the products of the columns above 1 / tau.
#[inline(always)]
unsafe fn solve<E: Eights>(panel: &Panel, backward: bool, sums: *mut f64) {
    for step in 0..panel.width {
        let column = if backward {
            panel.width - 1 - step
        } else {
            step
        };
        let mut total = E::load(sums.add(column * STRIP));
        for before in 0..step {
            let (other, at) = if backward {
                let other = panel.width - 1 - before;
                (other, column * WIDTH + other)
            } else {
                (before, before * WIDTH + column)
            };
            let by = E::all(*panel.products.add(at));
            total = E::minus(total, E::times(by, E::load(sums.add(other * STRIP))));
        }
        let tau = E::all(*panel.taus.add(column));
        E::store(E::times(tau, total), sums.add(column * STRIP));
    }
}

/// C −= V Y for these rows of a strip.
#[inline(always)]
unsafe fn subtract<E: Eights>(
    panel: &Panel,
    from: usize,
    rows: usize,
    strip: *mut f64,
    sums: *const f64,
) {
    let mut row = 0;
    while row < rows {
        let left = rows - row;
        let v = panel.vectors.add((from + row) * panel.stride);
        let place = strip.add(row * STRIP);
        row += if E::ABREAST >= 12 && left >= 12 {
            subtract_rows::<E, 12>(panel, v, place, sums)
        } else if E::ABREAST >= 6 && left >= 6 {
            subtract_rows::<E, 6>(panel, v, place, sums)
        } else if E::ABREAST >= 4 && left >= 4 {
            subtract_rows::<E, 4>(panel, v, place, sums)
        } else if left >= 2 {
            subtract_rows::<E, 2>(panel, v, place, sums)
        } else {
            subtract_rows::<E, 1>(panel, v, place, sums)
        };
    }
}

#[inline(always)]
unsafe fn subtract_rows<E: Eights, const R: usize>(
    panel: &Panel,
    vectors: *const f64,
    strip: *mut f64,
    sums: *const f64,
) -> usize {
    let mut total = [E::all(0.0); R];
    for (row, each) in total.iter_mut().enumerate() {
        *each = E::load(strip.add(row * STRIP));
    }
    for column in 0..panel.width {
        let numbers = E::load(sums.add(column * STRIP));
        for (row, each) in total.iter_mut().enumerate() {
            let by = E::all(*vectors.add(row * panel.stride + column));
            *each = E::minus(*each, E::times(by, numbers));
        }
    }
    for (row, each) in total.iter().enumerate() {
        E::store(*each, strip.add(row * STRIP));
    }
    R
}
