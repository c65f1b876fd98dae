//! The tests of the sample `clock-py`; there is no Rust in the sample itself.
