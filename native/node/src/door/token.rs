//! Session tokens: minted and verified with the node's key.

use domp_protocol::session::SessionToken;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Mints and verifies. The nonces come from the run's seed: they make tokens
/// of one birth differ, the signature is what keeps them from being guessed.
pub struct Minter {
    key: [u8; 32],
    state: u64,
}

impl Minter {
    pub fn new(key: [u8; 32], seed: u64) -> Self {
        Self { key, state: seed }
    }

    /// A token for a session born at revision `birth`.
    pub fn mint(&mut self, birth: u64, principal: u64) -> SessionToken {
        let nonce = self.draw();
        let mut token = SessionToken {
            birth,
            nonce,
            principal,
            mac: [0; 16],
        };
        token.mac = self.mac(&token);
        token
    }

    /// Whether this node's key signed the token.
    pub fn verifies(&self, token: &SessionToken) -> bool {
        let expected = self.mac(token);
        // No early exit: the time taken says nothing about where they differ.
        let difference = expected
            .iter()
            .zip(&token.mac)
            .fold(0, |all, (left, right)| all | (left ^ right));
        difference == 0
    }

    fn mac(&self, token: &SessionToken) -> [u8; 16] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(&token.birth.to_le_bytes());
        mac.update(&token.nonce.to_le_bytes());
        mac.update(&token.principal.to_le_bytes());
        let full = mac.finalize().into_bytes();
        let mut short = [0; 16];
        short.copy_from_slice(&full[..16]);
        short
    }

    /// The next number of the run's seed: `SplitMix64` (Steele, Lea and Flood,
    /// 2014), keyed, so that nonces don't tell what was drawn besides.
    pub fn draw(&mut self) -> u64 {
        let word = self.step();
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(b"draw");
        mac.update(&word.to_le_bytes());
        let full = mac.finalize().into_bytes();
        let mut short = [0; 8];
        short.copy_from_slice(&full[..8]);
        u64::from_le_bytes(short)
    }

    fn step(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_only_with_its_own_key_and_fields() {
        let mut minter = Minter::new([7; 32], 1);
        let token = minter.mint(99, 5);
        assert!(minter.verifies(&token));
        assert!(!Minter::new([8; 32], 1).verifies(&token));
        assert!(!minter.verifies(&SessionToken {
            principal: 6,
            ..token
        }));
        assert!(!minter.verifies(&SessionToken { birth: 98, ..token }));
        assert!(!minter.verifies(&SessionToken {
            nonce: token.nonce ^ 1,
            ..token
        }));
    }

    #[test]
    fn nonces_differ() {
        let mut minter = Minter::new([7; 32], 1);
        assert_ne!(minter.mint(1, 1).nonce, minter.mint(1, 1).nonce);
    }
}
