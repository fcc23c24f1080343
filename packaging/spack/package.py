# UNTESTED: this recipe follows Spack's own recipes but has not been run.
#
# Copy this file to packages/flux_state_counts/package.py in your package repository
# (before Spack 1.0: packages/flux-state-counts/package.py), and set `git` to the
# address of your clone of state-counts. Then run
#
#   spack install flux-state-counts
#   flux jobtap load $(spack location -i flux-state-counts)/lib/flux/job-manager/plugins/state-counts.so
#
# SPDX-License-Identifier: LGPL-3.0-only

from spack.package import *


class FluxStateCounts(Package):
    """A Flux jobtap plugin that sends the number of jobs in each state to statsd."""

    git = "file:///path/to/state-counts"

    license("LGPL-3.0-only")

    version("main", branch="main")

    depends_on("rust@1.85:", type="build")
    depends_on("c", type="build")
    # bindgen loads libclang during the build.
    depends_on("llvm+clang", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("py-docutils", type="build")
    # The build uses the headers. The plugin is not linked with flux-core, because the
    # broker provides the symbols.
    depends_on("flux-core@0.49:", type=("build", "run"))

    def setup_build_environment(self, env):
        env.set("LIBCLANG_PATH", self.spec["llvm"].prefix.lib)
        env.set("CARGO_HOME", join_path(self.stage.path, "cargo"))

    def install(self, spec, prefix):
        cargo = which("cargo", required=True)
        cargo("build", "--locked", "--release")
        plugins = join_path(prefix.lib, "flux", "job-manager", "plugins")
        mkdirp(plugins)
        install("target/release/libstate_counts.so", join_path(plugins, "state-counts.so"))
        Executable("scripts/manual")(prefix.share.man)
