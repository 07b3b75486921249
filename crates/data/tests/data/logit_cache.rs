//! Logit caches: rows by sample id whatever the order, and nothing wrong that goes unnoticed.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use softlabel_data::logit_cache::{CacheError, Encoding, LogitCache, LogitCacheWriter, Origin};
use softlabel_data::{Error, Fingerprint, Result};
use tempfile::TempDir;

fn origin() -> Origin {
    Origin {
        weights: "weights-1".into(),
        data: "data-1".into(),
        augmentation: "none".into(),
        smoothing: "none".into(),
    }
}

/// A logit that says whose it is.
fn logit(sample: usize, class: usize) -> f32 {
    (sample as f32 * 0.37 + class as f32 * 1.7).sin() * 8.0
}

fn rows(ids: &[usize], classes: usize) -> Vec<f32> {
    ids.iter().flat_map(|&id| (0..classes).map(move |class| logit(id, class))).collect()
}

fn write(folder: &Path, shards: &[&[usize]], classes: usize, encoding: Encoding) -> Result<()> {
    let mut writer = LogitCacheWriter::open(folder, &origin(), classes, encoding)?;
    for ids in shards {
        writer.write(ids, &rows(ids, classes))?;
    }
    writer.finish()
}

/// A cache of five samples in two shards.
fn cache() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("cache");
    write(&folder, &[&[9, 2, 5], &[11, 4]], 3, Encoding::F32).unwrap();
    (place, folder)
}

fn shard(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("shard-{number:05}.safetensors"))
}

fn message<T>(result: Result<T>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))] // Each writes files.
    #[test]
    fn rows_are_found_whatever_the_order(
        ids in prop::collection::hash_set(0usize..100_000, 1..60),
        asked in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
        size in 1usize..20,
        classes in 2usize..7,
    ) {
        let ids: Vec<usize> = ids.into_iter().collect(); // in no order
        let place = tempfile::tempdir().unwrap();
        let shards: Vec<&[usize]> = ids.chunks(size).collect();
        write(place.path(), &shards, classes, Encoding::F32).unwrap();
        let cache = LogitCache::open(place.path()).unwrap();
        prop_assert_eq!(cache.samples(), ids.len());
        let asked: Vec<usize> = asked.iter().map(|index| *index.get(&ids)).collect();
        prop_assert_eq!(cache.rows(&asked).unwrap(), rows(&asked, classes));
    }

    #[test]
    fn half_precision_errs_by_at_most_half_a_unit(values in prop::collection::vec(-65504f32..65504.0, 4)) {
        let place = tempfile::tempdir().unwrap();
        let mut writer = LogitCacheWriter::open(place.path(), &origin(), 4, Encoding::F16).unwrap();
        writer.write(&[0], &values).unwrap();
        writer.finish().unwrap();
        for (found, truth) in LogitCache::open(place.path()).unwrap().rows(&[0]).unwrap().iter().zip(&values) {
            let error = f64::from(*found) - f64::from(*truth);
            let bound = (f64::from(*truth).abs() * 2f64.powi(-11)).max(2f64.powi(-25));
            prop_assert!(error.abs() <= bound, "{truth} became {found}");
        }
    }

    #[test]
    fn the_largest_and_the_mass_of_the_rest_are_kept(
        values in prop::collection::vec(-20f32..20.0, 6),
        k in 1usize..6,
    ) {
        let place = tempfile::tempdir().unwrap();
        let mut writer = LogitCacheWriter::open(place.path(), &origin(), 6, Encoding::TopK(k)).unwrap();
        writer.write(&[3], &values).unwrap();
        writer.finish().unwrap();
        let cache = LogitCache::open(place.path()).unwrap();
        let found = cache.rows(&[3]).unwrap();
        let softmax = |row: &[f32]| -> Vec<f64> {
            let exponentials: Vec<f64> = row.iter().map(|&z| f64::from(z).exp()).collect();
            let sum: f64 = exponentials.iter().sum();
            exponentials.iter().map(|e| e / sum).collect()
        };
        let (p, q) = (softmax(&values), softmax(&found));
        let mut order: Vec<usize> = (0..6).collect();
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        let kept: f64 = order[..k].iter().map(|&class| p[class]).sum();
        for (rank, &class) in order.iter().enumerate() {
            let expected = if rank < k { p[class] } else { (1.0 - kept) / (6 - k) as f64 };
            prop_assert!((q[class] - expected).abs() < 1e-6, "{values:?} {q:?}");
            if rank < k {
                prop_assert_eq!(found[class], values[class]);
            }
        }
        prop_assert!((cache.kept_mass() - kept).abs() < 1e-6);
    }
}

#[test]
fn a_sample_that_is_not_there_is_named() {
    let (_place, folder) = cache();
    let cache = LogitCache::open(&folder).unwrap();
    assert!(cache.contains(9) && !cache.contains(3));
    let error = cache.rows(&[2, 3]).unwrap_err();
    assert!(matches!(error, Error::Cache(CacheError::UnknownSample { sample: 3, samples: 5, .. })));
    assert!(error.to_string().ends_with("sample 3 is not among the 5 samples of this cache"));
}

#[test]
fn another_teacher_or_other_data_are_named_with_both_fingerprints() {
    let (_place, folder) = cache();
    let cache = LogitCache::open(&folder).unwrap();
    cache.check(&origin()).unwrap();
    cache.check_data("data-1").unwrap();
    let said = message(cache.check_data("data-2"));
    assert!(said.ends_with("was made from data data-1, not from data data-2"), "{said}");
    let teacher = Origin { weights: "weights-2".into(), ..origin() };
    let said = message(cache.check(&teacher));
    assert!(said.ends_with("made from weights weights-1, not from weights weights-2"), "{said}");
    // Nobody writes the rows of one teacher beside those of another.
    let writer = LogitCacheWriter::open(&folder, &teacher, 3, Encoding::F32);
    assert!(message(writer).contains("not from weights weights-2"));
    let said = message(LogitCacheWriter::open(&folder, &origin(), 3, Encoding::F16));
    assert!(
        said.contains("logits of 3 classes as f32, not from logits of 3 classes as f16"),
        "{said}"
    );
}

#[test]
fn whatever_byte_is_cut_off_or_changed_is_noticed() {
    let (_place, folder) = cache();
    for file in [shard(&folder, 0), shard(&folder, 1), folder.join("index.json")] {
        let whole = fs::read(&file).unwrap();
        let is_index = file.ends_with("index.json");
        for length in (0..whole.len() - usize::from(is_index)).step_by(5) {
            fs::write(&file, &whole[..length]).unwrap();
            let error = LogitCache::open(&folder).unwrap_err();
            assert!(matches!(error, Error::InFile { .. }), "{length}: {error}");
        }
        // The last byte of the index ends its line.
        for position in (0..whole.len() - usize::from(is_index)).step_by(5) {
            let mut changed = whole.clone();
            changed[position] ^= 4;
            fs::write(&file, changed).unwrap();
            let error = LogitCache::open(&folder).unwrap_err().to_string();
            let is_told = is_index || error.contains("expected SHA-256");
            assert!(is_told, "{position}: {error}");
        }
        if !is_index {
            fs::remove_file(&file).unwrap();
            assert!(matches!(LogitCache::open(&folder).unwrap_err(), Error::Io { .. }));
        }
        fs::write(&file, whole).unwrap();
    }
    LogitCache::open(&folder).unwrap();
}

#[test]
fn writing_goes_on_where_it_was_killed() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let all: Vec<usize> = (0..10).collect();
    let mut writer = LogitCacheWriter::open(folder, &origin(), 3, Encoding::F32).unwrap();
    writer.write(&all[..4], &rows(&all[..4], 3)).unwrap();
    drop(writer);
    // Killed after a shard was renamed and before the index was: nobody knows of the shard.
    fs::write(shard(folder, 1), b"half").unwrap();
    fs::write(folder.join(".tmpAbCdEf"), b"half").unwrap();
    let error = LogitCache::open(folder).unwrap_err();
    assert!(matches!(error, Error::Cache(CacheError::Unfinished { samples: 4, .. })), "{error}");

    let mut writer = LogitCacheWriter::open(folder, &origin(), 3, Encoding::F32).unwrap();
    assert_eq!(writer.missing(&[9, 3, 4, 9]), [9, 4]);
    let missing = writer.missing(&all);
    assert_eq!(missing, all[4..]);
    for ids in missing.chunks(4) {
        writer.write(ids, &rows(ids, 3)).unwrap();
    }
    writer.finish().unwrap();
    let cache = LogitCache::open(folder).unwrap();
    assert_eq!(cache.rows(&all).unwrap(), rows(&all, 3));

    // A shard that somebody removed is made again.
    fs::remove_file(shard(folder, 0)).unwrap();
    let mut writer = LogitCacheWriter::open(folder, &origin(), 3, Encoding::F32).unwrap();
    assert_eq!(writer.missing(&all), all[..4]);
    assert!(LogitCache::open(folder).is_err());
    writer.write(&all[..4], &rows(&all[..4], 3)).unwrap();
    writer.finish().unwrap();
    assert_eq!(LogitCache::open(folder).unwrap().rows(&all).unwrap(), rows(&all, 3));
}

#[test]
fn two_do_not_write_at_once() {
    let place = tempfile::tempdir().unwrap();
    let first = LogitCacheWriter::open(place.path(), &origin(), 3, Encoding::F32).unwrap();
    let second = LogitCacheWriter::open(place.path(), &origin(), 3, Encoding::F32);
    assert!(message(second).contains("another program is writing"));
    drop(first);
    LogitCacheWriter::open(place.path(), &origin(), 3, Encoding::F32).unwrap();
}

#[test]
fn what_cannot_be_kept_is_refused_with_the_sample() {
    let place = tempfile::tempdir().unwrap();
    let half =
        || LogitCacheWriter::open(&place.path().join("h"), &origin(), 2, Encoding::F16).unwrap();
    let said = message(half().write(&[7], &[0.0, 65520.0]));
    assert!(
        said.contains("sample 7 are to be within ±65504") && said.contains("65520 for class 1"),
        "{said}"
    );
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let said = message(half().write(&[8, 7], &[0.0, 0.0, bad, 1.0]));
        assert!(said.starts_with("the logits of sample 7"), "{said}");
    }
    assert!(message(half().write(&[1, 1], &[0.0; 4])).contains("sample 1 comes twice"));
    let mut writer = half();
    writer.write(&[1], &[0.0; 2]).unwrap();
    assert!(message(writer.write(&[1], &[0.0; 2])).contains("sample 1 comes twice"));
    assert!(
        message(writer.write(&[2], &[0.0; 3])).contains("expected 1 rows of 2, found 3 values")
    );
    assert!(message(writer.write(&[], &[])).contains("empty"));
    for k in [0, 2, 3] {
        let writer =
            LogitCacheWriter::open(&place.path().join("k"), &origin(), 2, Encoding::TopK(k));
        assert!(matches!(writer.unwrap_err(), Error::Values(_)), "{k}");
    }
    let nothing =
        LogitCacheWriter::open(&place.path().join("n"), &origin(), 2, Encoding::F32).unwrap();
    assert!(nothing.finish().is_err());
}

#[test]
fn a_newer_or_forged_index_is_refused() {
    let (_place, folder) = cache();
    let path = folder.join("index.json");
    let text = fs::read_to_string(&path).unwrap();
    for (old, new, expected) in [
        ("softlabel.logit-cache/1", "softlabel.logit-cache/2", "expected schema"),
        ("shard-00000.safetensors", "../shard.safetensors", "is no name of a file"),
        ("[[2,2]", "[[2,1]", "no ascending ranges"),
        ("[[2,2]", "[[2,9]", "no ascending ranges"),
        ("[[4,4]", "[[5,5]", "expected the ids of index.json"),
        ("[[2,2],[5,5],[9,9]]", "[[2,18446744073709551615]]", "no ascending ranges"),
        (
            "\"classes\":3",
            "\"classes\":4",
            "expected F32 of shape [3, 4], found F32 of shape [3, 3]",
        ),
        (
            "\"encoding\":\"f32\"",
            "\"encoding\":{\"top_k\":3}",
            "k of top-k must be in 1..3, found 3",
        ),
    ] {
        assert!(text.contains(old), "{text}");
        let changed = text.replacen(old, new, 1);
        fs::write(&path, &changed).unwrap();
        let said = message(LogitCache::open(&folder));
        assert!(said.contains(expected) || said.contains("changed by hand"), "{new}: {said}");
        // Also where the checksum was made to fit.
        fs::write(&path, resealed(&changed)).unwrap();
        let said = message(LogitCache::open(&folder));
        assert!(said.contains(expected), "{new}: {said}");
    }
    fs::write(&path, resealed(&text)).unwrap();
    LogitCache::open(&folder).unwrap();
}

/// An index with the checksum of what it holds.
fn resealed(text: &str) -> String {
    // Its own is the last key.
    let (before, _) = text.rsplit_once("\"sha256\":").unwrap();
    let sum = Fingerprint::of(format!("{before}\"sha256\":\"\"}}").as_bytes());
    format!("{before}\"sha256\":\"{sum}\"}}")
}
