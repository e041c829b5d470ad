//! Where new positions are.

use super::mask::Mask;
use super::offset::Offset;

/// Where new positions are, and what they see.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// The positions of the first of them, for rotation.
    pub offset: &'a Offset,
    /// How many positions at the end of the buffer belong to each sequence, which the mask says as well; all of them if
    /// none is given.
    pub held: Option<&'a [i32]>,
    /// What they see of the buffer and each other.
    pub mask: &'a Mask,
}
