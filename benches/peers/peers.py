"""The peer's side of `cargo xtask bench --peers`: PyTorch, eager and compiled.

Leads the conversation that main.rs beside this file describes, on standard input and output.
"""

import functools
import json
import statistics
import sys
import time

import calibration
import torch
import torch.nn.functional as F

EPSILON = 0.1
TEMPERATURE = 4.0
COMPARED = 64
FEWEST = 3
TURN = 0.05
# Seconds; long enough to be timed once.
SLOW = 2.0
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def cross_entropy(leaves, targets, reduction="mean"):
    """The loss of logits, or of features and the weights of the last layer."""
    logits = leaves[0] if len(leaves) == 1 else leaves[0] @ leaves[1].T
    (target,) = targets
    return F.cross_entropy(logits, target, label_smoothing=EPSILON, reduction=reduction)


def towards_prior(leaves, targets, reduction="mean"):
    """The loss of labels smoothed towards a row of classes, or one for each class."""
    (logits,), (labels, prior) = leaves, targets
    prior = EPSILON * prior.to(logits.dtype)
    rows = prior.expand_as(logits) if len(prior) == 1 else prior[labels]
    rows = rows + (1 - EPSILON) * F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return F.cross_entropy(logits, rows, reduction=reduction)


def distill(leaves, targets, reduction="mean"):
    """T^2 KL(teacher || student) of tempered logits."""
    (student,), (teacher,) = leaves, targets
    log_p = F.log_softmax(student / TEMPERATURE, -1)
    q = F.softmax(teacher / TEMPERATURE, -1)
    how = "batchmean" if reduction == "mean" else "sum"
    return TEMPERATURE**2 * F.kl_div(log_p, q, reduction=how)


def training_step(case):
    """A step of the student of teacher_cache.rs, whose teacher's logits are in memory."""
    torch.manual_seed(0)
    rows, classes = case["rows"], case["classes"]
    student = torch.nn.Sequential(
        torch.nn.Linear(784, 800),
        torch.nn.ReLU(),
        torch.nn.Linear(800, 800),
        torch.nn.ReLU(),
        torch.nn.Linear(800, classes),
    )
    optimizer = torch.optim.Adam(student.parameters())
    images, teacher = torch.rand(rows, 784), 3 * torch.randn(rows, classes)

    def step():
        optimizer.zero_grad()
        distill([student(images)], [teacher]).backward()
        optimizer.step()

    return {"its training step (torch eager)": step}


# By the name that cases.json has for them.
OPERATIONS = {
    "hard": cross_entropy,
    "soft": cross_entropy,
    "vector": towards_prior,
    "matrix": towards_prior,
    "linear": cross_entropy,
    "distill": distill,
}


def prepare(case):
    """Leaves, and what they are compared with, drawn with a fixed seed."""
    torch.manual_seed(0)
    dtype = DTYPES[case["dtype"]]
    rows, classes, operation = case["rows"], case["classes"], case["operation"]
    if operation == "linear":
        features = case["features"]
        weights = torch.randn(classes, features) / features**0.5
        leaves = [torch.randn(rows, features), weights]
    else:
        leaves = [torch.randn(rows, classes) * (3 if operation == "distill" else 1)]
    if operation == "soft":
        targets = [torch.randn(rows, classes).softmax(-1).to(dtype)]
    elif operation == "distill":
        targets = [(3 * torch.randn(rows, classes)).to(dtype)]
    else:
        targets = [torch.randint(classes, (rows,))]
    if operation in ("vector", "matrix"):
        prior = torch.randn(1 if operation == "vector" else classes, classes)
        targets.append(prior.softmax(-1, dtype=torch.float64))
    return [leaf.to(dtype).requires_grad_(case["backward"]) for leaf in leaves], targets


def medians_ms(min_seconds, operations):
    """Median milliseconds of each, by turns as in gauges.rs; None of one that raises.

    Of one that takes SLOW seconds or more, what its second warm-up run took.
    """
    fewest, turn = (FEWEST, TURN) if min_seconds > 0 else (1, 0)
    warm = {name: warmed_up(name, operation) for name, operation in operations.items()}
    slow = {name: 1e3 * seconds for name, seconds in warm.items() if seconds is not None and seconds >= SLOW}
    times = {name: [] for name, seconds in warm.items() if seconds is not None and name not in slow}
    spent = dict.fromkeys(times, 0.0)
    while any(len(times[name]) < fewest or spent[name] < min_seconds for name in times):
        for name in times:
            start = time.perf_counter()
            while True:
                before = time.perf_counter()
                operations[name]()
                now = time.perf_counter()
                times[name].append(1e3 * (now - before))
                if now - start >= turn:
                    break
            spent[name] += now - start
    medians = {name: statistics.median(each) for name, each in times.items()}
    return {name: slow.get(name, medians.get(name)) for name in operations}


def warmed_up(name, operation):
    """Runs an operation twice; the seconds of the second run, None if it cannot be run."""
    try:
        operation()
        before = time.perf_counter()
        operation()
        return time.perf_counter() - before
    except Exception as exception:  # A peer that cannot is left out of the comparison.
        print(f"{name} cannot: {exception}", file=sys.stderr)
        return None


def works(name, operation):
    """Whether an operation can be run, which is done twice."""
    return warmed_up(name, operation) is not None


def status(name):
    """A value of this process's status, in bytes."""
    with open("/proc/self/status", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(name):
                return 1024 * int(line.split()[1])
    return None


def peak_bytes(operation):
    """Resident bytes at the peak of an operation beyond those before it; None where unknown."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="utf-8") as mark:
            mark.write("5")
        before = status("VmRSS:")
        operation()
        return max(0, status("VmHWM:") - before)
    except (OSError, TypeError):
        return None


def error(loss, eager, leaves, targets):
    """Deviation of the first rows' gradient from one in f64, over the latter's largest entry."""
    rows = leaves[0].shape[0]
    exact = [leaves[0][:COMPARED], *leaves[1:]]
    exact = [leaf.detach().double().requires_grad_() for leaf in exact]
    first = targets[0][:COMPARED]
    first = first.double() if first.is_floating_point() else first
    mean = eager(exact, [first, *targets[1:]], reduction="sum") / rows
    truth = torch.autograd.grad(mean, exact[0])[0]
    found = torch.autograd.grad(loss(leaves, targets), leaves)[0][:COMPARED].double()
    return ((found - truth).abs().max() / truth.abs().max()).item()


def answer(request):
    """The number of every peer for one request."""
    torch.set_num_threads(request["threads"])
    case = request["case"]
    if case["operation"] in calibration.OPERATIONS:
        return numbers_of(calibration.OPERATIONS[case["operation"]](case), request)
    if case["operation"] == "teacher_cache":
        return numbers_of(training_step(case), request)
    eager = OPERATIONS[case["operation"]]
    leaves, targets = prepare(case)
    torch._dynamo.reset()
    losses = {"torch eager": eager, "torch.compile": torch.compile(eager, dynamic=False)}

    def once(loss):
        if case["backward"]:
            return torch.autograd.grad(loss(leaves, targets), leaves)
        with torch.no_grad():
            return loss(leaves, targets)

    operations = {name: functools.partial(once, loss) for name, loss in losses.items()}
    if request["measure"] == "time":
        return medians_ms(request["min_seconds"], operations)
    numbers = {}
    for name, operation in operations.items():
        if not works(name, operation):
            numbers[name] = None
        elif request["measure"] == "memory":
            numbers[name] = peak_bytes(operation)
        elif case["backward"]:
            numbers[name] = error(losses[name], eager, leaves, targets)
    return numbers


def numbers_of(operations, request):
    """The number of every operation; what it comes to is not compared."""
    if request["measure"] == "time":
        return medians_ms(request["min_seconds"], operations)
    if request["measure"] == "memory":
        return {name: peak_bytes(run) if works(name, run) else None for name, run in operations.items()}
    return {}


def main():
    """Answers requests until there are no more."""
    # What libraries print must not get between the lines of the conversation.
    out, sys.stdout = sys.stdout, sys.stderr
    python = ".".join(map(str, sys.version_info[:3]))
    versions = {"python": python, "torch": torch.__version__}
    print(json.dumps({"versions": versions}), file=out, flush=True)
    for line in sys.stdin:
        try:
            numbers = answer(json.loads(line))
        except Exception as exception:
            numbers = {"failed": f"{type(exception).__name__}: {exception}"}
        print(json.dumps(numbers), file=out, flush=True)


if __name__ == "__main__":
    main()
