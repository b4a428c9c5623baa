//! Orthogonal matrices: the Q of a matrix's QR decomposition, by Householder's reflections.

mod by_path;
mod eights;
mod matrix;
mod process;
mod reflections;
mod team;
mod work;

pub use matrix::{orthogonalize, orthogonalize_among, Matrix};
pub use process::{Exchange, Process};
pub use work::Outcome;
