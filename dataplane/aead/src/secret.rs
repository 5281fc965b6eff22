//! Secret bytes.

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::arena::Locked;

/// `N` secret bytes (at most 1024) in key memory: locked, in no core dump, not copied when the value moves, and wiped
/// on drop. Making and dropping one costs a few nanoseconds.
///
/// There is deliberately no `Debug`, `Clone`, `Display` or `==`; a copy is made by name, with [`duplicate`], and so is a
/// comparison, with [`same_as`].
///
/// [`duplicate`]: Secret::duplicate
/// [`same_as`]: Secret::same_as
pub struct Secret<const N: usize>(Locked<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Takes over `bytes`, and wipes the array that was passed; copies that the caller's compiler left of it on the stack
    /// are not reached. [`fill_with`](Self::fill_with) has none.
    pub fn new(mut bytes: [u8; N]) -> Self {
        let mut secret = Self::zeroed();
        secret.0.copy_from_slice(&bytes);
        bytes.zeroize();
        secret
    }

    /// Copies `bytes`; `None` when they are not exactly `N`.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != N {
            return None;
        }
        let mut secret = Self::zeroed();
        secret.0.copy_from_slice(bytes);
        Some(secret)
    }

    /// A secret that `fill` writes in place, so that no copy of it ever exists elsewhere: the way to make
    /// one from a random generator.
    ///
    /// # Errors
    /// Whatever `fill` returns.
    pub fn fill_with<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self::zeroed();
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// The bytes, for the moment they are needed.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// Whether both hold the same bytes, found out in constant time.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }

    /// A second copy, which is wiped on its own.
    pub fn duplicate(&self) -> Self {
        let mut secret = Self::zeroed();
        secret.0.copy_from_slice(self.0.as_slice());
        secret
    }

    fn zeroed() -> Self {
        Self(Locked::zeroed())
    }
}

/// By its slot, which is wiped.
impl<const N: usize> zeroize::ZeroizeOnDrop for Secret<N> {}

impl<const N: usize> ConstantTimeEq for Secret<N> {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.as_slice().ct_eq(other.0.as_slice())
    }
}

/// In constant time; for tests only.
#[cfg(feature = "equality")]
impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

#[cfg(feature = "equality")]
impl<const N: usize> Eq for Secret<N> {}

/// Does not compile when secrets can be compared with `==`: two implementations would then apply.
#[cfg(not(feature = "equality"))]
const _: () = {
    trait OneIfNotComparable<Which> {
        const HERE: () = ();
    }
    struct Plain;
    struct Comparable;
    impl<T> OneIfNotComparable<Plain> for T {}
    impl<T: PartialEq> OneIfNotComparable<Comparable> for T {}
    <Secret<32> as OneIfNotComparable<_>>::HERE
};
