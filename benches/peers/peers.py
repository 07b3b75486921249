"""The peer's side of `cargo xtask bench --peers`: PyTorch, eager and compiled.

Leads the conversation that main.rs beside this file describes, on standard input and output.
"""

import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F

EPSILON = 0.1
COMPARED = 64
FEWEST = 3
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def cross_entropy(leaves, target, reduction="mean"):
    """The loss of logits, or of features and the weights of the last layer."""
    logits = leaves[0] if len(leaves) == 1 else leaves[0] @ leaves[1].T
    return F.cross_entropy(logits, target, label_smoothing=EPSILON, reduction=reduction)


# By the name that cases.json has for them.
OPERATIONS = {"hard": cross_entropy, "soft": cross_entropy, "linear": cross_entropy}


def prepare(case):
    """Leaves and target, drawn with a fixed seed."""
    torch.manual_seed(0)
    dtype = DTYPES[case["dtype"]]
    rows, classes = case["rows"], case["classes"]
    if case["operation"] == "linear":
        features = case["features"]
        weights = torch.randn(classes, features) / features**0.5
        leaves = [torch.randn(rows, features), weights]
    else:
        leaves = [torch.randn(rows, classes)]
    if case["operation"] == "soft":
        target = torch.randn(rows, classes).softmax(-1).to(dtype)
    else:
        target = torch.randint(classes, (rows,))
    return [leaf.to(dtype).requires_grad_(case["backward"]) for leaf in leaves], target


def median_ms(min_seconds, operation):
    """Median milliseconds, repeated for min_seconds after two warm-up runs; one run for 0."""
    operation()
    operation()
    fewest = FEWEST if min_seconds > 0 else 1
    times = []
    start = time.perf_counter()
    while len(times) < fewest or time.perf_counter() - start < min_seconds:
        before = time.perf_counter()
        operation()
        times.append(1e3 * (time.perf_counter() - before))
    return statistics.median(times)


def status(name):
    """A value of this process's status, in bytes."""
    with open("/proc/self/status", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(name):
                return 1024 * int(line.split()[1])
    return None


def peak_bytes(operation):
    """Resident bytes at the peak of an operation beyond those before it; None where unknown."""
    # Twice: a compiled function is compiled by the first run.
    operation()
    operation()
    try:
        with open("/proc/self/clear_refs", "w", encoding="utf-8") as mark:
            mark.write("5")
        before = status("VmRSS:")
        operation()
        return max(0, status("VmHWM:") - before)
    except (OSError, TypeError):
        return None


def error(loss, leaves, target, backward):
    """Deviation of the first rows' gradient from one in f64, over the latter's largest entry."""
    if not backward:
        return None
    rows = leaves[0].shape[0]
    exact = [leaves[0][:COMPARED], *leaves[1:]]
    exact = [leaf.detach().double().requires_grad_() for leaf in exact]
    first = target[:COMPARED]
    first = first.double() if first.is_floating_point() else first
    mean = cross_entropy(exact, first, reduction="sum") / rows
    truth = torch.autograd.grad(mean, exact[0])[0]
    found = torch.autograd.grad(loss(leaves, target), leaves)[0][:COMPARED].double()
    return ((found - truth).abs().max() / truth.abs().max()).item()


def answer(request):
    """The number of every peer for one request."""
    torch.set_num_threads(request["threads"])
    case = request["case"]
    eager = OPERATIONS[case["operation"]]
    leaves, target = prepare(case)
    numbers = {}
    torch._dynamo.reset()
    for name, loss in [("torch eager", eager), ("torch.compile", torch.compile(eager, dynamic=False))]:

        def operation():
            if case["backward"]:
                return torch.autograd.grad(loss(leaves, target), leaves)
            with torch.no_grad():
                return loss(leaves, target)

        try:
            if request["measure"] == "time":
                numbers[name] = median_ms(request["min_seconds"], operation)
            elif request["measure"] == "memory":
                numbers[name] = peak_bytes(operation)
            else:
                off = error(loss, leaves, target, case["backward"])
                if off is not None:
                    numbers[name] = off
        except Exception as exception:  # A peer that cannot is left out of the comparison.
            print(f"{name} cannot: {exception}", file=sys.stderr)
            numbers[name] = None
    return numbers


def main():
    """Answers requests until there are no more."""
    # What libraries print must not get between the lines of the conversation.
    out, sys.stdout = sys.stdout, sys.stderr
    python = ".".join(map(str, sys.version_info[:3]))
    print(json.dumps({"versions": {"python": python, "torch": torch.__version__}}), file=out, flush=True)
    for line in sys.stdin:
        try:
            numbers = answer(json.loads(line))
        except Exception as exception:
            numbers = {"failed": f"{type(exception).__name__}: {exception}"}
        print(json.dumps(numbers), file=out, flush=True)


if __name__ == "__main__":
    main()
