//! Who taught whom, and what there was to learn.

use comfy_table::{Cell, CellAlignment};
use softlabel_results::{Arm, Range, Summary, Taught};

use crate::numbers;
use crate::terminal::{TableStyle, folded, plain_table, printable, set_margins};

/// An arm that was taught.
pub(crate) struct Student {
    pub(crate) arm: String,
    pub(crate) teachers: String,
    /// Of the teachers that are arms of the run, on the test samples.
    pub(crate) teacher_error: String,
    pub(crate) temperature: String,
    pub(crate) soft_weight: String,
    pub(crate) hard_weight: String,
    pub(crate) kept_mass: String,
}

/// The headings of [`Student::cells`].
pub(crate) const STUDENT_HEADINGS: [&str; 7] = [
    "student",
    "teacher",
    "error of the teacher %",
    "T",
    "weight of the teacher",
    "of the labels",
    "kept mass %",
];

impl Student {
    fn of(summary: &Summary, arm: &Arm, taught: &Taught) -> Self {
        let mut teachers = taught.teachers.join(", ");
        if !taught.calibration.is_none() {
            teachers += &format!(" + {}", taught.calibration.title());
        }
        let errors = taught.teachers.iter().filter_map(|name| summary.arm(name));
        let errors: Vec<String> =
            errors.map(|teacher| numbers::share(&teacher.test_errors.share)).collect();
        let kept = taught.kept_mass.as_ref().map(numbers::share);
        Self {
            arm: arm.name.clone(),
            teachers,
            teacher_error: or_none(errors.join(", ")),
            temperature: taught.temperature.map_or(numbers::NONE.to_owned(), range),
            soft_weight: range(taught.soft_weight),
            hard_weight: range(taught.hard_weight),
            kept_mass: kept.unwrap_or_else(|| numbers::NONE.to_owned()),
        }
    }

    /// Its cells, but that of the arm.
    pub(crate) fn cells(&self) -> [&str; 6] {
        let Self {
            teachers, teacher_error, temperature, soft_weight, hard_weight, kept_mass, ..
        } = self;
        [teachers, teacher_error, temperature, soft_weight, hard_weight, kept_mass]
    }
}

fn or_none(text: String) -> String {
    if text.is_empty() { numbers::NONE.to_owned() } else { text }
}

/// `4`, or `1 to 4`.
fn range(Range { least, most }: Range) -> String {
    if least.total_cmp(&most).is_eq() {
        numbers::short(least)
    } else {
        format!("{} to {}", numbers::short(least), numbers::short(most))
    }
}

/// The arms that were taught, in their order.
pub(crate) fn students(summary: &Summary) -> Vec<Student> {
    let student = |arm: &Arm| arm.taught.as_ref().map(|taught| Student::of(summary, arm, taught));
    summary.arms.iter().filter_map(student).collect()
}

/// What there is to learn from a teacher at a temperature.
pub(crate) struct Lesson {
    /// The teacher, unless the lesson before was of the same one.
    pub(crate) first_of_teacher: bool,
    pub(crate) teacher: String,
    pub(crate) training_error: String,
    pub(crate) temperature: String,
    pub(crate) wrong_class_mass: String,
    pub(crate) class_dispersion: String,
}

/// What the columns of lessons say.
pub(crate) const LESSON_LEGEND: [&str; 2] = [
    "γ: mass on wrong classes, times K/(K − 1). 1 − S: spread of the probabilities within a class.",
    "Both are over the training samples, where a teacher teaches.",
];

/// The lessons of the arms that teach.
pub(crate) fn lessons(summary: &Summary) -> Vec<Lesson> {
    let mut lessons = Vec::new();
    for arm in teachers(summary) {
        for (index, lesson) in arm.lessons.iter().enumerate() {
            lessons.push(Lesson {
                first_of_teacher: index == 0,
                teacher: arm.name.clone(),
                training_error: numbers::share(&arm.training_errors.share),
                temperature: numbers::short(lesson.temperature),
                wrong_class_mass: numbers::spread(&lesson.wrong_class_mass, 3),
                class_dispersion: numbers::spread(&lesson.class_dispersion, 4),
            });
        }
    }
    lessons
}

/// The arms that teach others.
pub(crate) fn teachers(summary: &Summary) -> impl Iterator<Item = &Arm> {
    let taught = || summary.arms.iter().filter_map(|arm| arm.taught.as_ref());
    summary
        .arms
        .iter()
        .filter(move |arm| taught().any(|taught| taught.teachers.contains(&arm.name)))
}

/// Who taught whom and what there was to learn, as two tables; empty if nobody was taught.
///
/// ```no_run
/// # use softlabel_results::RunFolder;
/// use softlabel_report::{TableStyle, teaching};
/// let summary = RunFolder::open("runs/distill-digits-1").read_summary()?;
/// print!("{}", teaching(&summary, TableStyle::default()));
/// # Ok::<(), softlabel_results::Error>(())
/// ```
pub fn teaching(summary: &Summary, style: TableStyle) -> String {
    let students = students(summary);
    if students.is_empty() {
        return String::new();
    }
    let right = |text: &str| Cell::new(text).set_alignment(CellAlignment::Right);
    let name = |text: &str| Cell::new(folded(&printable(text)));
    let mut table = plain_table(style.color);
    // A column in which there is nothing at all is left out.
    let some = |at: usize| students.iter().any(|student| student.cells()[at] != numbers::NONE);
    let shown: Vec<usize> = (0..students[0].cells().len()).filter(|&at| some(at)).collect();
    let heading = |&at: &usize| {
        let text = STUDENT_HEADINGS[at + 1].replacen(" the ", "\nthe ", 1);
        if at == 0 { Cell::new(text) } else { right(&text) }
    };
    table.set_header(
        std::iter::once(Cell::new(STUDENT_HEADINGS[0])).chain(shown.iter().map(heading)),
    );
    for student in &students {
        let cell = |&at: &usize| match student.cells()[at] {
            text if at == 0 => name(text),
            text => right(text),
        };
        table.add_row(std::iter::once(name(&student.arm)).chain(shown.iter().map(cell)));
    }
    set_margins(&mut table);
    let mut text = format!("{}\n", table.trim_fmt());

    let lessons = lessons(summary);
    if lessons.is_empty() {
        return text;
    }
    let mut table = plain_table(style.color);
    let numbers = ["training error\n%", "T", "γ", "1 − S"];
    table.set_header(std::iter::once(Cell::new("teacher")).chain(numbers.map(right)));
    for lesson in &lessons {
        let (teacher, error) = if lesson.first_of_teacher {
            (lesson.teacher.as_str(), lesson.training_error.as_str())
        } else {
            ("", "")
        };
        let rest = [error, &lesson.temperature, &lesson.wrong_class_mass, &lesson.class_dispersion];
        table.add_row(std::iter::once(name(teacher)).chain(rest.map(right)));
    }
    set_margins(&mut table);
    text += &format!("\n{}\n{}\n", table.trim_fmt(), LESSON_LEGEND.join("\n"));
    text
}
