# SPDX-License-Identifier: Apache-2.0

from spack_repo.builtin.build_systems.cmake import CMakePackage

from spack.package import *


class Weir(CMakePackage):
    """Keeps small linear sketches of vectors that change, on any number of MPI ranks, and draws random entries from them."""

    # The sources have no address of their own: `spack dev-build` and `spack develop` take a checkout.

    license("Apache-2.0", checked_by="weir maintainers")

    version("0.1.0")

    variant("mpi", default=True, description="The program, and the engine that reads streams with all ranks")
    variant("kafka", default=False, description="Read topics of Kafka")
    variant("zstd", default=True, description="Read files that are compressed by zstd")
    variant("shared", default=False, description="Shared libraries")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("pkgconfig", type="build")

    depends_on("eigen@3.4:3", type="build")
    depends_on("cereal", type="build")
    depends_on("nlohmann-json@3.10:", type="build")
    depends_on("fmt@9:")
    depends_on("zlib-api")
    depends_on("xxhash@0.8:")
    depends_on("highway@1:")
    depends_on("fftw@3.3: precision=double")
    depends_on("mpi", when="+mpi")
    depends_on("cli11@2:", type="build", when="+mpi")
    depends_on("librdkafka@1.6:", when="+kafka")
    depends_on("zstd@1.4:", when="+zstd")

    # C++20, with the parts of it that weir uses.
    conflicts("%gcc@:11")
    conflicts("%clang@:13")

    def cmake_args(self):
        return [
            self.define_from_variant("WEIR_WITH_MPI", "mpi"),
            self.define_from_variant("WEIR_WITH_KAFKA", "kafka"),
            self.define_from_variant("WEIR_WITH_ZSTD", "zstd"),
            self.define_from_variant("BUILD_SHARED_LIBS", "shared"),
            # `pip install ./apps/python` builds the package of Python.
            self.define("WEIR_WITH_PYTHON", False),
            # It needs cpp-httplib 0.11, and Spack has 0.5 and from 0.12 on.
            self.define("WEIR_WITH_SERVE", False),
            # The tests also need rapidcheck, which Spack does not have.
            self.define("WEIR_BUILD_TESTS", False),
        ]
