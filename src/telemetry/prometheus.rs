//! A recorder for Prometheus.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::{ALL, Kind, Unit};

/// The bounds of a histogram of times, in seconds: from an idle commit to a long run.
const TIMES: [f64; 20] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
    900.0, 3600.0,
];

/// The bounds of a histogram of counts.
const COUNTS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];

/// What was observed is put into its histogram at least so often: until then it is kept one by one.
const UPKEEP: Duration = Duration::from_secs(5);

/// What the process has recorded, in the text format of Prometheus; for [`Door::metrics`](crate::web::Door::metrics).
///
/// ```
/// use greenroom::{Prometheus, Runtime, web::Door};
///
/// fn door(runtime: Runtime) -> Result<Door, greenroom::OtherRecorder> {
///     Ok(Door::new(runtime).metrics(Prometheus::install()?))
/// }
/// ```
#[derive(Clone)]
pub struct Prometheus {
    render: Arc<dyn Fn() -> String + Send + Sync>,
}

/// The process has a recorder of metrics already that is not this crate's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another recorder of metrics is installed in this process")]
pub struct OtherRecorder;

impl Prometheus {
    /// Makes a recorder for Prometheus that of the process, for everything in it that speaks to the
    /// [`metrics`](https://docs.rs/metrics) crate. Called again, it gives the same.
    ///
    /// Install it before the runtime is started: what happens before that is not recorded.
    ///
    /// # Errors
    ///
    /// [`OtherRecorder`] when the process has another one. Where that is for Prometheus too, use
    /// [`rendered_by`](Self::rendered_by).
    pub fn install() -> Result<Self, OtherRecorder> {
        static INSTALLED: Mutex<Option<Prometheus>> = Mutex::new(None);
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(installed) = &*installed {
            return Ok(installed.clone());
        }
        let handle = install()?;
        let rendered = Self::rendered_by(move || handle.render());
        *installed = Some(rendered.clone());
        Ok(rendered)
    }

    /// What `render` gives, such as the `render` of a `PrometheusHandle` of a recorder of your own.
    #[must_use]
    pub fn rendered_by(render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { render: Arc::new(render) }
    }

    pub(crate) fn render(&self) -> String {
        (self.render)()
    }
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus").finish_non_exhaustive()
    }
}

fn install() -> Result<PrometheusHandle, OtherRecorder> {
    let mut builder = PrometheusBuilder::new();
    for metric in ALL.iter().filter(|metric| metric.kind == Kind::Histogram) {
        let bounds: &[f64] = match metric.unit {
            Unit::Seconds => &TIMES,
            Unit::Count => &COUNTS,
        };
        // An error would say that there are no bounds.
        builder =
            builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds).map_err(|_| OtherRecorder)?;
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| OtherRecorder)?;
    super::describe();
    let kept_up = handle.clone();
    // As long as the process lives, as the recorder does. Without it, a recorder that nobody asks would grow.
    let upkeep = move || {
        loop {
            thread::sleep(UPKEEP);
            kept_up.run_upkeep();
        }
    };
    if let Err(error) = thread::Builder::new().name("greenroom-metrics".to_owned()).spawn(upkeep) {
        tracing::warn!(%error, "what is recorded is kept until somebody asks for it");
    }
    Ok(handle)
}
