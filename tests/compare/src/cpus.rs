//! Which CPUs are whose: the first is the generator's, all others are the subject's.

use anyhow::{Context, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The division of the CPUs this process may use.
#[derive(Debug, Clone)]
pub(crate) struct Cpus {
    generator: usize,
    subject: Vec<usize>,
}

impl Cpus {
    /// Divides them.
    pub(crate) fn divide() -> anyhow::Result<Self> {
        let mine = sched_getaffinity(Pid::from_raw(0)).context("asking which CPUs may be used")?;
        let mut all = (0..CpuSet::count()).filter(|cpu| mine.is_set(*cpu).unwrap_or(false));
        let generator = all.next().context("no CPU may be used")?;
        let subject: Vec<usize> = all.collect();
        ensure!(
            !subject.is_empty(),
            "there is one CPU only: a generator that shares it with what it measures measures itself. Run this on a \
             machine with two or more"
        );
        Ok(Self { generator, subject })
    }

    /// Keeps this thread, and those it starts, to the generator's.
    pub(crate) fn keep_to_the_generators(&self) -> anyhow::Result<()> {
        keep_to(&[self.generator])
    }

    /// Keeps this thread, and those it starts, to the subject's.
    pub(crate) fn keep_to_the_subjects(&self) -> anyhow::Result<()> {
        keep_to(&self.subject)
    }

    /// The subject's, as `taskset -c` takes them.
    pub(crate) fn subjects(&self) -> String {
        self.subject.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// How many the subject has.
    pub(crate) fn of_the_subject(&self) -> usize {
        self.subject.len()
    }
}

fn keep_to(cpus: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu).context("naming a CPU")?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).context("keeping to some CPUs")
}
