//! Loops over a slice in vectors.

/// Runs `full` for every whole vector of `size` numbers and `part` for what is left.
///
/// Four whole vectors are taken at a time, as slots 0 to 3, so that sums into an array of four do
/// not wait for each other; what is left goes to slot 3. A macro, because what is called from a
/// kernel must be inlined into it, and a closure cannot be told to be.
macro_rules! sweep {
    ($size:expr, $lanes:expr;
        ($slot:ident, $at:ident) $full:block
        ($last:ident, $from:ident, $count:ident) $part:block
    ) => {{
        let size: usize = $size;
        let lanes: usize = $lanes;
        let mut next = 0;
        while next + 4 * lanes <= size {
            {
                let ($slot, $at) = (0usize, next);
                $full
            }
            {
                let ($slot, $at) = (1usize, next + lanes);
                $full
            }
            {
                let ($slot, $at) = (2usize, next + 2 * lanes);
                $full
            }
            {
                let ($slot, $at) = (3usize, next + 3 * lanes);
                $full
            }
            next += 4 * lanes;
        }
        if next + lanes <= size {
            {
                let ($slot, $at) = (0usize, next);
                $full
            }
            next += lanes;
        }
        if next + lanes <= size {
            {
                let ($slot, $at) = (1usize, next);
                $full
            }
            next += lanes;
        }
        if next + lanes <= size {
            {
                let ($slot, $at) = (2usize, next);
                $full
            }
            next += lanes;
        }
        if next < size {
            let ($last, $from, $count) = (3usize, next, size - next);
            $part
        }
    }};
}

pub(crate) use sweep;
