//! TorchScript files: those that train are refused, in whichever way they train.

// Clippy knows that test functions may panic, not that what they call may.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Cursor, Write};

use softlabel_tensor::{Error, ScriptModule};
use tch::{CModule, Device, Kind, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A file as `torch.jit.script` saves a module with one dropout: its code, and its attribute `training`.
fn scripted(training: bool) -> Vec<u8> {
    let code = "class Net(Module):\n  __parameters__ = []\n  __buffers__ = []\n  training : bool\n  \
                def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n    \
                return torch.dropout(x, 0.5, self.training)\n";
    // Protocol 2; an object of __torch__.Net; its attributes; the end.
    let data = [
        &b"\x80\x02c__torch__\nNet\nq\x00)\x81}(X\x08\x00\x00\x00trainingq\x01"[..],
        if training { b"\x88" } else { b"\x89" },
        b"ubq\x02.",
    ]
    .concat();
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in [
        ("data.pkl", &data[..]),
        ("code/__torch__.py", code.as_bytes()),
        ("constants.pkl", b"\x80\x02)."),
        ("version", b"3\n"),
    ] {
        archive.start_file(format!("archive/{name}"), stored).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A file of a function as tracing records it, its flags for training included.
fn traced(mut function: impl FnMut(&Tensor) -> Tensor) -> Vec<u8> {
    let input = Tensor::ones([4, 3], (Kind::Float, Device::Cpu));
    let mut closure = |inputs: &[Tensor]| vec![function(&inputs[0])];
    let module = CModule::create_by_tracing("Net", "forward", &[input], &mut closure).unwrap();
    let folder = tempfile::tempdir().unwrap();
    module.save(folder.path().join("net.pt")).unwrap();
    std::fs::read(folder.path().join("net.pt")).unwrap()
}

fn training(bytes: &[u8]) -> String {
    match ScriptModule::from_bytes(bytes, Device::Cpu).unwrap_err() {
        Error::Training { part } => part,
        other => panic!("{other}"),
    }
}

#[test]
fn a_scripted_module_in_training_mode_is_refused() {
    let bytes = scripted(true);
    assert_eq!(training(&bytes), "module `the whole`");
    let said = ScriptModule::from_bytes(&bytes, Device::Cpu).unwrap_err().to_string();
    assert!(said.contains("call `model.eval()` before"), "{said}");

    let module = ScriptModule::from_bytes(&scripted(false), Device::Cpu).unwrap();
    let input = Tensor::rand([4, 3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let output = module.forward(&input).unwrap();
    assert_eq!(f64::try_from((&output - &input).abs().max()).unwrap(), 0.0);
    assert!(!output.requires_grad());
}

#[test]
fn a_trace_that_recorded_training_is_refused() {
    let dropout = |train| traced(move |x| x.dropout(0.5, train) + 1.0);
    assert_eq!(training(&dropout(true)), "operator `aten::dropout`, recorded with training on");
    let module = ScriptModule::from_bytes(&dropout(false), Device::Cpu).unwrap();
    let input = Tensor::zeros([4, 3], (Kind::Float, Device::Cpu));
    assert_eq!(f64::try_from(module.forward(&input).unwrap().sum(Kind::Float)).unwrap(), 12.0);

    let normalized = |train| {
        let (mean, variance) = (
            Tensor::zeros([3], (Kind::Float, Device::Cpu)),
            Tensor::ones([3], (Kind::Float, Device::Cpu)),
        );
        traced(move |x| {
            let (mean, variance) = (Some(&mean), Some(&variance));
            x.batch_norm(None::<&Tensor>, None::<&Tensor>, mean, variance, train, 0.1, 1e-5, false)
        })
    };
    let part = training(&normalized(true));
    assert!(part.contains("batch_norm"), "{part}");
    ScriptModule::from_bytes(&normalized(false), Device::Cpu).unwrap();
}

#[test]
fn what_is_no_torchscript_file_is_an_error() {
    let whole = scripted(false);
    for bytes in [&b""[..], b"not a module", &whole[..whole.len() / 2]] {
        let error = ScriptModule::from_bytes(bytes, Device::Cpu).unwrap_err();
        assert!(matches!(error, Error::Script { .. }), "{error}");
    }
}

#[test]
fn an_input_that_does_not_fit_is_an_error() {
    let module = ScriptModule::from_bytes(&scripted(false), Device::Cpu).unwrap();
    let text = module.forward(&Tensor::new()).unwrap_err().to_string();
    assert!(text.starts_with("libtorch: "), "{text}");
}
