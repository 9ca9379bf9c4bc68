//! Session tokens: minted and verified with the node's key.

use domp_protocol::session::SessionToken;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Names the one key a node has in the tokens that it signs.
const KEY_ID: u64 = 1;

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

    /// A token for a session born at revision `birth`, for its first connection, whose epoch
    /// that is too.
    pub fn mint(&mut self, birth: u64, principal: u64) -> SessionToken {
        let token = SessionToken {
            birth,
            nonce: self.draw(),
            principal,
            epoch: birth,
            key: KEY_ID,
            mac: [0; 16],
        };
        self.signed(token)
    }

    /// The token of the same session for a connection of that epoch.
    pub fn renew(&self, token: &SessionToken, epoch: u64) -> SessionToken {
        self.signed(SessionToken {
            epoch,
            key: KEY_ID,
            ..*token
        })
    }

    fn signed(&self, token: SessionToken) -> SessionToken {
        SessionToken {
            mac: self.mac(&token),
            ..token
        }
    }

    /// Whether this node's key signed the token.
    pub fn verifies(&self, token: &SessionToken) -> bool {
        if token.key != KEY_ID {
            return false;
        }
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
        mac.update(&token.signed_bytes());
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
        assert!(!minter.verifies(&SessionToken { epoch: 98, ..token }));
        assert!(!minter.verifies(&SessionToken { key: 2, ..token }));
        assert!(!minter.verifies(&SessionToken {
            nonce: token.nonce ^ 1,
            ..token
        }));
    }

    #[test]
    fn a_token_of_another_key_is_refused_however_well_it_is_signed() {
        let minter = Minter::new([7; 32], 1);
        let token = SessionToken {
            birth: 99,
            nonce: 1,
            principal: 5,
            epoch: 99,
            key: 2,
            mac: [0; 16],
        };
        assert!(!minter.verifies(&minter.signed(token)));
    }

    #[test]
    fn a_renewed_token_names_the_same_session_under_its_epoch() {
        let mut minter = Minter::new([7; 32], 1);
        let token = minter.mint(99, 5);
        let renewed = minter.renew(&token, 120);
        assert!(minter.verifies(&renewed));
        assert_eq!((token.epoch, renewed.epoch), (99, 120));
        assert_eq!(
            (renewed.birth, renewed.nonce, renewed.principal),
            (token.birth, token.nonce, token.principal)
        );
    }

    #[test]
    fn nonces_differ() {
        let mut minter = Minter::new([7; 32], 1);
        assert_ne!(minter.mint(1, 1).nonce, minter.mint(1, 1).nonce);
    }
}
