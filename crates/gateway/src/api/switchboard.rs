//! The operator's switches as this node knows them, and what they refuse.
//!
//! Invariant: what is judged by them was read from the store at most a second before. Where the store
//! cannot be asked, nothing could be recorded either.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::catalogue::{Model, Route};
use domain::switches::{Feature, Switches};
use tokio::time::Instant;

use super::Api;
use super::error::{ApiError, Kind};
use crate::store::{Store, StoreError};

/// How old the switches may be that something is judged by.
const AGE_MAX: Duration = Duration::from_secs(1);

/// What is known of the switches.
#[derive(Default)]
pub struct Switchboard {
    known: RwLock<Option<Known>>,
    /// Held by whoever reads, so that the others wait for that one; when that began.
    reading: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Known {
    switches: Arc<Switches>,
    /// When the reading of them began.
    since: Instant,
}

impl Switchboard {
    /// How the switches stand.
    async fn read(&self, store: &Store) -> Result<Arc<Switches>, StoreError> {
        if let Some(switches) = self.fresh() {
            return Ok(switches);
        }
        let mut reading = self.reading.lock().await;
        match self.fresh() {
            Some(switches) => Ok(switches),
            None => self.read_anew(store, &mut reading).await,
        }
    }

    /// How they stand for what is only shown: the last that is known, rather than waiting for a store
    /// that does not answer.
    async fn glance(&self, store: &Store) -> Arc<Switches> {
        if let Some(switches) = self.fresh() {
            return switches;
        }
        if let Ok(mut reading) = self.reading.try_lock()
            && reading.is_none_or(|began| began.elapsed() >= AGE_MAX)
            && let Err(error) = self.read_anew(store, &mut reading).await
        {
            tracing::warn!(%error, "the switches cannot be read; the last ones are shown");
        }
        self.known()
            .map_or_else(Arc::default, |known| known.switches)
    }

    /// Reads them although they are known: somebody has just turned one here. What was being read
    /// before is thrown away by waiting for it.
    pub(super) async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let mut reading = self.reading.lock().await;
        self.read_anew(store, &mut reading).await.map(drop)
    }

    async fn read_anew(
        &self,
        store: &Store,
        reading: &mut Option<Instant>,
    ) -> Result<Arc<Switches>, StoreError> {
        let since = Instant::now();
        *reading = Some(since);
        let switches = Arc::new(store.any_switches().await?);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        *known = Some(Known {
            switches: Arc::clone(&switches),
            since,
        });
        Ok(switches)
    }

    fn known(&self) -> Option<Known> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    fn fresh(&self) -> Option<Arc<Switches>> {
        let known = self.known()?;
        (known.since.elapsed() < AGE_MAX).then_some(known.switches)
    }
}

impl Api {
    /// How the switches stand.
    pub(super) async fn switches(&self) -> Result<Arc<Switches>, ApiError> {
        Ok(self.switchboard.read(&self.store).await?)
    }

    /// The same for what is only shown.
    pub(super) async fn shown_switches(&self) -> Arc<Switches> {
        self.switchboard.glance(&self.store).await
    }
}

/// Refuses while the operator takes no submits.
pub(super) fn check_open(switches: &Switches) -> Result<(), ApiError> {
    let Some(maintenance) = &switches.maintenance else {
        return Ok(());
    };
    let message = "Submits are switched off for maintenance; reads still work.".to_owned();
    let message = maintenance.message.clone().unwrap_or(message);
    Err(ApiError::new(Kind::Maintenance, message))
}

/// Refuses a feature that is switched off.
pub(super) fn check_feature(switches: &Switches, feature: Feature) -> Result<(), ApiError> {
    if switches.has(feature) {
        return Ok(());
    }
    let what = match feature {
        Feature::Chat => "Chat models are",
        Feature::Image => "Image models are",
        Feature::Video => "Video models are",
        Feature::Callbacks => "Callbacks are",
    };
    Err(ApiError::disabled(format!("{what} switched off.")))
}

/// Refuses a model that is switched off, by its file or by a switch.
pub(super) fn check_model(switches: &Switches, model: &Model) -> Result<(), ApiError> {
    check_feature(switches, Feature::of(model.modality))?;
    if switches.may_run(model) {
        return Ok(());
    }
    let message = format!("The model {} is switched off.", model.id);
    Err(ApiError::disabled(message))
}

/// The routes over providers that are on. A model that has routes, all of them off, is not run
/// elsewhere.
pub(super) fn open_routes(
    switches: &Switches,
    model: &Model,
    mut routes: Vec<Route>,
) -> Result<Vec<Route>, ApiError> {
    routes.retain(|route| switches.has_provider(&route.provider));
    if !routes.is_empty() {
        return Ok(routes);
    }
    let message = format!(
        "No provider of the model {} is switched on at the moment.",
        model.id
    );
    Err(ApiError::disabled(message))
}
