//! The inputs of [`rows`]: each ends in a value, or in an error of the kind that its danger calls for.
//!
//! What bounds the work are the constants of `klusterkite_hocon::limits`; how long each takes is measured
//! by `cargo xtask bench hocon`.

mod rows;

use klusterkite_hocon::Error;

use rows::rows;

/// What an input ends in.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Value,
    Limit,
    Path,
    Include,
    Cycle,
}

#[test]
fn every_input_ends_in_a_value_or_in_the_error_of_its_bound() {
    use Outcome::{Cycle, Include, Limit, Path, Value};
    let expected = [
        ("100,000 lists", Limit),
        ("100,000 objects", Limit),
        ("path of 1,000 keys", Path),
        ("path of 100,000 keys", Path),
        ("1,000 lines `a.kN=1`", Value),
        ("20,000 lines `a.kN=1`", Value),
        ("cycle of 3", Cycle),
        ("chain of 100 forward references", Value),
        ("chain of 1,000 forward references", Limit),
        ("chain of 10,000 forward references", Limit),
        ("20,000 lines `a += 1`", Value),
        ("20,000 lines `a += ${b}`", Limit),
        ("list of 1,000,000 integers", Value),
        ("include cycle", Include),
        ("include fan-out of 2^20", Include),
        ("list doubled 28 times", Limit),
        ("object doubled 28 times", Limit),
        ("string doubled 28 times", Limit),
    ];
    let found: Vec<_> = rows().iter().map(|row| (row.name, outcome(row))).collect();
    assert_eq!(found, expected);
}

fn outcome(row: &rows::Row) -> Outcome {
    match row.run() {
        Ok(_) => Outcome::Value,
        Err(Error::Limit { .. }) => Outcome::Limit,
        Err(Error::Path { .. }) => Outcome::Path,
        Err(Error::Include { .. }) => Outcome::Include,
        Err(Error::Unresolved { cycle: true, .. }) => Outcome::Cycle,
        Err(error) => panic!("{}: {error}", row.name),
    }
}
