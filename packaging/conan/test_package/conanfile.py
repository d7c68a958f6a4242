"""Builds a program with the package, and runs it with the checkpoint that was installed."""

import os

from conan import ConanFile
from conan.tools.build import can_run
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout


class TestPackageConan(ConanFile):
    settings = "os", "arch", "compiler", "build_type"

    def requirements(self):
        self.requires(self.tested_reference_str)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        CMakeToolchain(self).generate()
        CMakeDeps(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def test(self):
        if can_run(self):
            checkpoint = os.path.join(
                self.dependencies["r2router"].package_folder,
                "share/r2router/checkpoints/default",
            )
            program = os.path.join(self.cpp.build.bindir, "test_package")
            self.run(f'"{program}" "{checkpoint}"', env="conanrun")
