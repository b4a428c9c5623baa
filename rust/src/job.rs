//! What crosses from Python: jobs, their dimensions and their recipes.

use crate::cell::Map;
use crate::double::Double;
use crate::philox::schedule;
use crate::single::Single;
use crate::walk::{Block, Dim};

/// A block of a tensor, as `_stream/bits/kernel.py` packs it.
#[repr(C)]
pub struct Job {
    pointer: *mut u8,
    dims: *const Dim,
    key: u64,
    base: u64,
    rank: u32,
    dtype: u32,
    kind: u32,
    first: u32,
    width: u32,
    _reserved: u32,
    numbers: [f64; 5],
    low: f64,
    high: f64,
}

/// The element types, by their codes.
#[derive(Clone, Copy, PartialEq)]
pub enum Type {
    Float32,
    Float64,
    BFloat16,
    Float16,
    Words,
}

impl Job {
    /// The block and its type, if the codes are known.
    ///
    /// # Safety
    /// The dimensions must be where the job says.
    pub unsafe fn block(&self) -> Option<(Block<'_>, Type)> {
        let dtype = match self.dtype {
            0 => Type::Float32,
            1 => Type::Float64,
            2 => Type::BFloat16,
            3 => Type::Float16,
            4 => Type::Words,
            _ => return None,
        };
        let dims = std::slice::from_raw_parts(self.dims, self.rank as usize);
        let map = self.map(dtype)?;
        Some((
            Block {
                pointer: self.pointer,
                dims,
                keys: schedule(self.key),
                base: self.base,
                map,
            },
            dtype,
        ))
    }

    fn map(&self, dtype: Type) -> Option<Map> {
        let number = self.numbers;
        let (low, high) = (self.low as f32, self.high as f32);
        let (center, spread) = (number[0] as f32, number[1] as f32);
        let double = match (self.kind, dtype == Type::Float64) {
            (0, _) if dtype == Type::Words => return Some(Map::Bits),
            _ if dtype == Type::Words => return None,
            (1, false) => return Some(Map::Single(Single::Constant(center))),
            (2, false) => {
                return Some(Map::Single(Single::Uniform {
                    middle: center,
                    half: spread,
                    low,
                    high,
                }))
            }
            (3, false) => return Some(Map::Single(Single::Normal { center, spread })),
            (4, false) => {
                let (first, width) = (self.first, self.width);
                return Some(Map::Single(Single::Cut {
                    center,
                    spread,
                    low,
                    high,
                    first,
                    width,
                }));
            }
            (1, true) => Double::Constant(number[0]),
            (2, true) => Double::Uniform {
                middle: number[0],
                half: number[1],
            },
            (5, _) => Double::Flat {
                start: number[0],
                width: number[1],
            },
            (6 | 7, _) => Double::Tail {
                anchor: number[0],
                std: number[1],
                start: number[2],
                share: number[3],
                upper: self.kind == 6,
            },
            (8, _) => Double::Both {
                mean: number[0],
                std: number[1],
                below: number[2],
                above: number[3],
                mass: number[4],
            },
            _ => return None,
        };
        Some(Map::Double(double, self.low, self.high))
    }
}
