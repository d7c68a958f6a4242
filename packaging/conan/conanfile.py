"""Conan recipe of this source tree: conan create packaging/conan --build=missing"""

import re
from pathlib import Path

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy

required_conan_version = ">=2.0"


class R2RouterConan(ConanFile):
    name = "r2router"
    description = "Chooses, for each LLM query, a model and a token budget"
    license = "MIT"
    url = "https://github.com/r2router/r2router"
    topics = ("llm", "routing")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {
        "shared": [True, False],
        "fPIC": [True, False],
        "program": [True, False],
        # Dependencies come from the system's packages, not from Conan.
        "system_dependencies": [True, False],
    }
    default_options = {
        "shared": False,
        "fPIC": True,
        "program": True,
        "system_dependencies": False,
    }
    implements = ["auto_shared_fpic"]

    @property
    def _root(self):
        return Path(self.recipe_folder).resolve().parent.parent

    def set_version(self):
        header = self._root / "include" / "r2router" / "version.h"
        self.version = re.search(r'R2ROUTER_VERSION "([^"]+)"', header.read_text()).group(1)

    def export_sources(self):
        for pattern in (
            "CMakeLists.txt",
            "LICENSE",
            "checkpoints/default/*",
            "checkpoints/r2-router/*",
            "cmake/*",
            "config/*",
            "include/*",
            "src/*",
        ):
            copy(self, pattern, self._root, self.export_sources_folder)

    def requirements(self):
        if self.options.system_dependencies:
            return
        self.requires("eigen/3.4.0")
        self.requires("nlohmann_json/3.11.3")
        self.requires("zlib/[>=1.2.11 <2]")
        self.requires("bzip2/1.0.8")
        self.requires("xz_utils/[>=5.4.5 <6]")
        self.requires("libcurl/[>=8.0 <9]")
        if self.options.program:
            self.requires("cli11/2.4.2")

    def validate(self):
        check_min_cppstd(self, 20)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["R2ROUTER_BUILD_CLI"] = bool(self.options.program)
        toolchain.cache_variables["R2ROUTER_BUILD_TESTS"] = "OFF"
        toolchain.cache_variables["R2ROUTER_BUILD_EXAMPLES"] = "OFF"
        toolchain.generate()
        CMakeDeps(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        copy(self, "LICENSE", self.source_folder, Path(self.package_folder, "licenses"))
        CMake(self).install()

    def package_info(self):
        # The installed r2router-config.cmake describes the targets.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = ["lib/cmake/r2router"]
        self.cpp_info.libs = ["r2router_llm", "r2router_train", "r2router"]
        if self.options.system_dependencies:
            self.cpp_info.system_libs = ["curl", "z", "bz2", "lzma", "pthread", "dl"]
