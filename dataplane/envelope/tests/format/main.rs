//! The format, as `docs/format.md` specifies it: against vectors of others, against models, and against tampering.

mod cobblestone;
mod envelopes;
mod etags;
mod mutations;
mod python;
mod range_reads;
mod sizes;
mod support;
mod trailers;
mod vectors;
