//! What an instance is given, until it is made.

use super::{Args, Call, Instance};
use crate::{
    Error, Function, Report,
    function::acquire::{Request, acquire},
    given::{GivenOptions, given_methods},
};
use executor_model::Val;
use executor_snapshot::Defaults;

/// Says what an instance is given, and makes it.
///
/// Without more it has its function's name as argument 0, an empty environment, no directories and no
/// input, and its output is thrown away. A function gives its instances what it was made with: an export
/// to call, arguments, variables, directories, limits, a timeout. What is said here overrides each by
/// itself.
#[derive(Debug)]
#[must_use]
pub struct InstanceBuilder {
    function: Function,
    given: GivenOptions,
    call: Option<Call>,
}

impl InstanceBuilder {
    pub(crate) fn new(function: Function) -> Self {
        Self { function, given: GivenOptions::default(), call: None }
    }

    given_methods!();

    /// Makes it for a call of an export, which is what [`Instance::run`] then does.
    pub fn call(mut self, export: impl Into<String>, params: &[Val]) -> Self {
        self.call = Some(Call { export: export.into(), args: Args::Values(params.to_vec()) });
        self
    }

    /// As [`Self::call`], with arguments as text, which is read by the types of the parameters. For a
    /// function without parameters they are ignored.
    pub fn call_text(
        mut self,
        export: impl Into<String>,
        args: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.call = Some(Call::text(export, args));
        self
    }

    /// Makes the instance: restores or instantiates it, and runs what its guest does of its own accord then.
    ///
    /// # Errors
    /// When a directory cannot be opened, the snapshot needs what is not given, the state or the module's
    /// imports do not fit, or the guest does not return.
    pub fn start(self) -> Result<Instance, Error> {
        let code = self.function.code().to_vec();
        let mut report = Report { code, ..Report::default() };
        let instance = self.start_with(&mut report)?;
        Ok(instance.with_report(report))
    }

    /// As [`Self::start`], telling `report` what is done, also where it fails.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(self, report: &mut Report) -> Result<Instance, Error> {
        report.phases.resume();
        let Self { function, given, call } = self;
        let shared = &function.runtime().shared;
        let none = Defaults::default();
        let defaults = function.defaults().unwrap_or(&none);
        let given = given.settle(function.name(), defaults, shared.limits, &shared.listener)?;
        let call = call.or_else(|| {
            let export = defaults.invoke.as_ref()?;
            Some(Call::text(export, &given.args[1..]))
        });
        let request = Request {
            runtime: function.runtime(),
            state: function.state(),
            given: &given,
            init: &[],
            call: call.as_ref(),
            why: function.why(),
        };
        acquire(request, report)
    }
}
