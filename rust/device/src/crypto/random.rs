// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Random numbers that nobody can predict.

/// There are no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are no random numbers")]
pub struct Unavailable;

/// Fills `bytes` with random numbers.
///
/// # Errors
///
/// [`Unavailable`] if the library has no source of them; `bytes` must not be used then.
pub fn fill(bytes: &mut [u8]) -> Result<(), Unavailable> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| Unavailable)
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn every_call_fills_all_bytes_anew() {
        let (mut a, mut b) = ([0; 64], [0; 64]);
        fill(&mut a).unwrap();
        fill(&mut b).unwrap();
        assert_ne!(a, b);
        assert_ne!(a[56..], [0; 8]);
    }
}
