//! Threads that go into namespaces on errands and come home again.
//!
//! [`Namespace::run`] starts a thread for each errand. Where many short ones are done that costs more than they do, so these
//! threads stay: each is at home between errands, and enters another namespace only for as long as [`Visitor::visit`] lasts. One
//! that does not get home again ends, since whatever it did next would be done in the wrong place.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::{Error, Namespace};

/// Further errands wait at those who send them.
const QUEUE: usize = 256;

type Errand<S> = Box<dyn FnOnce(&mut Visitor<S>) + Send>;

/// Some threads, which end with the last clone of this. Each has something of its own that it keeps between errands.
pub struct Visitors<S> {
    errands: mpsc::Sender<Errand<S>>,
}

/// One of the threads, as an errand sees it.
pub struct Visitor<S> {
    /// What is this thread's own.
    pub own: S,
    home: Namespace,
    lost: bool,
}

impl<S: Send + 'static> Visitors<S> {
    /// Starts a thread for each of these, at home in the namespace of the calling thread.
    ///
    /// # Errors
    /// When that namespace cannot be opened, or a thread not be started.
    pub fn start(name: &str, own: Vec<S>) -> Result<Self, Error> {
        let home = Namespace::current()?;
        let (errands, taken) = mpsc::channel(QUEUE);
        let taken = Arc::new(Mutex::new(taken));
        for own in own {
            let visitor = Visitor { own, home: home.clone(), lost: false };
            let taken = Arc::clone(&taken);
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || visitor.run(&taken))
                .map_err(|source| Error::Thread { name: home.name().to_owned(), source })?;
        }
        Ok(Self { errands })
    }

    /// Has an errand done by the next thread that is free, and waits for it. It is done also if nobody waits any more.
    ///
    /// # Errors
    /// When the thread ended before the errand did, or none is left.
    pub async fn send<T: Send + 'static>(
        &self,
        errand: impl FnOnce(&mut Visitor<S>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (outcome, answer) = oneshot::channel();
        // Whoever sent it may have gone.
        let errand: Errand<S> = Box::new(move |visitor| drop(outcome.send(errand(visitor))));
        self.errands.send(errand).await.map_err(|_| Error::Deserted)?;
        answer.await.map_err(|_| Error::Deserted)
    }
}

impl<S> Visitor<S> {
    /// Does something inside a namespace, and comes home.
    ///
    /// # Errors
    /// When the thread may not enter, or could not come home: then what was to be done may be done.
    pub fn visit<T>(&mut self, namespace: &Namespace, work: impl FnOnce() -> T) -> Result<T, Error> {
        namespace.enter()?;
        let done = work();
        self.home.enter().inspect_err(|_| self.lost = true)?;
        Ok(done)
    }

    fn run(mut self, errands: &Mutex<mpsc::Receiver<Errand<S>>>) {
        loop {
            let next = errands.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            let Some(errand) = next else { return };
            errand(&mut self);
            if self.lost {
                error!("a thread did not come home from the network namespace of a pod: it ends");
                return;
            }
        }
    }
}

impl<S> Clone for Visitors<S> {
    fn clone(&self) -> Self {
        Self { errands: self.errands.clone() }
    }
}

impl<S> fmt::Debug for Visitors<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Visitors")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_visitor_is_at_home_again_after_each_errand_and_keeps_what_is_its_own() {
        let home = Namespace::current().unwrap().identity().unwrap();
        let visitors = Visitors::start("visitor", vec![0]).unwrap();
        let away = Namespace::create().expect("this test makes a network namespace: run it as root");
        for round in 1..=3 {
            let there = away.clone();
            let errand = move |visitor: &mut Visitor<i32>| {
                visitor.own += 1;
                let here = || Namespace::current().unwrap().identity().unwrap();
                (visitor.visit(&there, here).unwrap(), here(), visitor.own)
            };
            let found = visitors.send(errand).await.unwrap();
            assert_eq!(found, (away.identity().unwrap(), home, round));
        }
    }

    #[tokio::test]
    async fn who_waits_is_told_when_no_thread_is_left() {
        let visitors = Visitors::start("visitor", vec![()]).unwrap();
        let lost = visitors.send(|visitor| visitor.lost = true).await;
        assert!(lost.is_ok());
        let refused = visitors.send(|_| ()).await.unwrap_err();
        assert!(matches!(refused, Error::Deserted), "{refused}");
    }
}
