//! Orthogonal matrices: the Q of a matrix's QR decomposition, by Householder's reflections.

mod eights;
mod matrix;
mod reflections;
mod team;

pub use matrix::{orthogonalize, Matrix};
