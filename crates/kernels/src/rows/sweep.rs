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

/// Runs `full` and `part` as [`sweep`], and writes the vectors they come to.
///
/// If it is to go past the caches, `part` first makes what lies before the first address that whole
/// vectors can be written to so.
macro_rules! sweep_out {
    ($vector:ty, $element:ty, $output:expr, $past_caches:expr, $size:expr;
        ($at:ident) $full:block
        ($from:ident, $count:ident) $part:block
    ) => {{
        use $crate::rows::vector::{Vector, Write};
        let (output, past_caches, all): (*mut $element, bool, usize) =
            ($output, $past_caches, $size);
        let lanes = <$vector as Vector>::LANES;
        let head = if past_caches {
            $crate::rows::sweep::to_whole_vector(output, lanes).min(all)
        } else {
            0
        };
        if head > 0 {
            let ($from, $count) = (0usize, head);
            let values: $vector = $part;
            <$vector as Write<$element>>::write_part(values, output, head);
        }
        $crate::rows::sweep::sweep!(all - head, lanes;
            (_slot, next) {
                let $at = head + next;
                let values: $vector = $full;
                if past_caches {
                    <$vector as Write<$element>>::write_past_caches(values, output.add($at));
                } else {
                    <$vector as Write<$element>>::write(values, output.add($at));
                }
            }
            (_slot, next, rest) {
                let ($from, $count) = (head + next, rest);
                let values: $vector = $part;
                <$vector as Write<$element>>::write_part(values, output.add($from), $count);
            }
        );
    }};
}

/// How many elements lie before the first address that is a multiple of a vector's size; fewer than
/// fill a vector.
#[inline(always)]
pub(crate) fn to_whole_vector<T>(to: *const T, lanes: usize) -> usize {
    to.addr().wrapping_neg() % (lanes * size_of::<T>()) / size_of::<T>()
}

pub(crate) use sweep;
pub(crate) use sweep_out;
