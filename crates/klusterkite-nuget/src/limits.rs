/// How large a package may be before it is refused, so that a small upload cannot fill a disk or
/// the memory of whoever opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest number of entries, directories included.
    pub entries_max: usize,
    /// The largest size of one unpacked entry, in bytes.
    pub entry_bytes_max: u64,
    /// The largest size of all entries unpacked, in bytes.
    pub total_bytes_max: u64,
    /// How many times larger than the archive its unpacked entries may be.
    pub ratio_max: u64,
}

impl Limits {
    /// The limits for packages of services.
    ///
    /// - 50,000 entries: the largest published packages (whole SDKs, node modules) have about
    ///   20,000, and each entry costs about 200 bytes of memory while a package is open.
    /// - 2 GiB for an entry: above the largest programs and models seen in packages, below what
    ///   32-bit sizes of a zip can say.
    /// - 4 GiB in total: a container's disk must hold three releases and the content store.
    /// - ratio 200: deflate reaches about 1,030 on zeros; programs and texts stay under 20, very
    ///   repetitive data under 100.
    pub const STANDARD: Self = Self {
        entries_max: 50_000,
        entry_bytes_max: 2 << 30,
        total_bytes_max: 4 << 30,
        ratio_max: 200,
    };
}

/// Unpacked sizes up to this are never a bomb, whatever their ratio: 16 MiB.
pub(crate) const RATIO_FREE_BYTES: u64 = 16 << 20;
