//! The plugin trait.

use super::callbacks::Callbacks;
use super::error::Error;
use super::handle::Jobtap;

/// A flux plugin. One value lives for each load, and is dropped at removal.
pub trait Plugin: Sized + 'static {
    /// What its log lines begin with.
    const NAME: &'static str;

    /// Makes the plugin, and names the callbacks that it wants, in
    /// `flux_plugin_init`. Flux may still refuse the load afterwards ("already
    /// loaded"), so do nothing here that others can see.
    ///
    /// # Errors
    /// Fail the load. Flux says only "flux_plugin_init failed", with this error
    /// in its log; refuse a bad configuration in
    /// [`conf_update`](Callbacks::conf_update).
    fn init(flux: Jobtap<Self>, callbacks: &mut Callbacks<Self>) -> Result<Self, Error>;
}

/// What configures a plugin, each a JSON object's text.
#[derive(Clone, Copy, Debug)]
pub struct Conf<'a> {
    /// Given at load: `flux flux load`'s KEY=VALUE words, or `conf` in the
    /// broker's `[[job-manager.plugins]]`. It never changes.
    pub plugin: Option<&'a str>,
    /// `{"conf": …}` with all of the broker's configuration.
    pub broker: &'a str,
}
