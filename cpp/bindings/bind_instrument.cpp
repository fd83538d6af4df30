// SPDX-License-Identifier: BSD-3-Clause
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "probewise/instrument/microscope.hpp"

namespace py = pybind11;
using namespace probewise::instrument;
using probewise::bindings::check_axis;
using probewise::bindings::read_view;
using probewise::bindings::write_view;

namespace {

using Pair = std::pair<double, double>;  // (y, x)

Vector2 vector(const Pair& pair) { return {pair.first, pair.second}; }

Region region_named(const std::string& name) {
  if (name == "everywhere") return Region::everywhere;
  if (name == "outside_blobs") return Region::outside_blobs;
  if (name == "inside_blob") return Region::inside_blob;
  if (name == "band") return Region::band;
  throw std::invalid_argument("region is '" + name + "', expected everywhere, outside_blobs, inside_blob or band");
}

PatchKind patch_named(const std::string& name) {
  if (name == "hole") return PatchKind::hole;
  if (name == "thick") return PatchKind::thick;
  if (name == "contamination") return PatchKind::contamination;
  throw std::invalid_argument("kind is '" + name + "', expected hole, thick or contamination");
}

std::vector<Column> columns_of(const py::array& rows) {
  const auto view =
      read_view<double>(rows, "columns", 2, "(n, 7): y, x, species, weight, weight_rms, position_rms, group");
  check_axis(rows, "columns", 1, 7);
  std::vector<Column> columns;
  for (std::size_t k = 0; k + 7 <= view.size(); k += 7) {
    columns.push_back({{view[k], view[k + 1]},
                       static_cast<std::int32_t>(view[k + 2]),
                       view[k + 3],
                       view[k + 4],
                       view[k + 5],
                       static_cast<int>(view[k + 6])});
  }
  return columns;
}

void bind_specimen(py::module_& module) {
  py::class_<Specimen>(module, "Specimen")
      .def(py::init<std::uint64_t>(), py::arg("seed"))
      .def(
          "add_lattice",
          [](Specimen& self, const Pair& origin, const Pair& a, const Pair& b, const py::array& columns,
             const std::string& region, std::int32_t blob, const Pair& normal, const Pair& band_origin, double low,
             double high, double margin, bool dome) {
            Lattice lattice;
            lattice.origin = vector(origin);
            lattice.a = vector(a);
            lattice.b = vector(b);
            lattice.columns = columns_of(columns);
            lattice.region = region_named(region);
            lattice.blob = blob;
            lattice.normal = vector(normal);
            lattice.band_origin = vector(band_origin);
            lattice.low = low;
            lattice.high = high;
            lattice.margin = margin;
            lattice.dome = dome;
            return self.add_lattice(std::move(lattice));
          },
          py::arg("origin"), py::arg("a"), py::arg("b"), py::arg("columns"), py::kw_only(),
          py::arg("region") = "everywhere", py::arg("blob") = -1, py::arg("normal") = Pair{0, 0},
          py::arg("band_origin") = Pair{0, 0}, py::arg("low") = 0.0, py::arg("high") = 0.0, py::arg("margin") = 0.0,
          py::arg("dome") = false)
      .def(
          "add_blob",
          [](Specimen& self, const Pair& centre, double radius, double ripple, double fold, double phase) {
            return self.add_blob({vector(centre), radius, ripple, fold, phase});
          },
          py::arg("centre"), py::arg("radius"), py::arg("ripple") = 0.0, py::arg("fold") = 4.0, py::arg("phase") = 0.0)
      .def(
          "substitute",
          [](Specimen& self, std::int32_t lattice, std::int32_t i, std::int32_t j, std::int32_t column,
             std::int32_t species) { self.substitute({lattice, i, j, column, species}); },
          py::arg("lattice"), py::arg("i"), py::arg("j"), py::arg("column"), py::arg("species"))
      .def(
          "add_domain",
          [](Specimen& self, const Pair& at, const Pair& displacement) {
            self.add_domain({vector(at), vector(displacement)});
          },
          py::arg("at"), py::arg("displacement"))
      .def(
          "add_patch",
          [](Specimen& self, const std::string& kind, const Pair& centre, double radius, double amount, double edge) {
            self.add_patch({{vector(centre), radius}, patch_named(kind), amount, edge});
          },
          py::arg("kind"), py::arg("centre"), py::arg("radius"), py::arg("amount") = 0.0, py::arg("edge") = 0.0)
      .def("set_wall_width", &Specimen::set_wall_width, py::arg("width"))
      .def(
          "set_mistilt",
          [](Specimen& self, const Pair& at_origin, const Pair& per_y, const Pair& per_x) {
            self.set_mistilt(vector(at_origin), vector(per_y), vector(per_x));
          },
          py::arg("at_origin"), py::arg("per_y"), py::arg("per_x"))
      .def(
          "atoms",
          [](const Specimen& self, const std::array<double, 4>& box) {
            Atoms atoms;
            {
              const py::gil_scoped_release unlocked;
              self.enumerate({box[0], box[1], box[2], box[3]}, atoms);
            }
            const auto count = static_cast<py::ssize_t>(atoms.y.size());
            py::array_t<double> yx({count, py::ssize_t{2}});
            py::array_t<std::int32_t> species(count);
            py::array_t<float> weight(count);
            auto points = yx.mutable_unchecked<2>();
            for (py::ssize_t k = 0; k < count; ++k) {
              const auto a = static_cast<std::size_t>(k);
              points(k, 0) = static_cast<double>(atoms.y[a]);
              points(k, 1) = static_cast<double>(atoms.x[a]);
              species.mutable_at(k) = atoms.species[a];
              weight.mutable_at(k) = atoms.weight[a];
            }
            return py::make_tuple(yx, species, weight);
          },
          py::arg("box"));
}

/// A renderer with the buffers that one frame needs, kept between frames.
class Microscope {
 public:
  Microscope(const Specimen& specimen, Optics optics, const Distortions& distortions, const Detector& detector,
             std::uint64_t seed)
      : renderer_(specimen, std::move(optics)), distortions_(distortions), detector_(detector), seed_(seed) {}

  template <class Scan>
  void scan(const Scan& scan, const Field& field, std::uint64_t sequence, std::int64_t clock_ns,
            double electrons_per_ns, std::span<float> out) {
    const FrameKey key{seed_, sequence, clock_ns};
    place(scan, field, distortions_, key, samples_);
    renderer_.fractions(samples_.y, samples_.x, out);
    detect(samples_, electrons_per_ns, distortions_, detector_, key, out);
  }

  template <class Scan>
  py::array_t<double> positions(const Scan& scan, const Field& field, std::uint64_t sequence, std::int64_t clock_ns) {
    place(scan, field, distortions_, {seed_, sequence, clock_ns}, samples_);
    py::array_t<double> yx({static_cast<py::ssize_t>(samples_.y.size()), py::ssize_t{2}});
    auto points = yx.mutable_unchecked<2>();
    for (std::size_t k = 0; k < samples_.y.size(); ++k) {
      points(static_cast<py::ssize_t>(k), 0) = static_cast<double>(samples_.y[k]);
      points(static_cast<py::ssize_t>(k), 1) = static_cast<double>(samples_.x[k]);
    }
    return yx;
  }

 private:
  Renderer renderer_;
  Distortions distortions_;
  Detector detector_;
  std::uint64_t seed_;
  Samples samples_;
};

Path path_of(const py::array& yx, const py::array& dwell_ns) {
  const auto points = read_view<double>(yx, "yx", 2, "(n, 2)");
  check_axis(yx, "yx", 1, 2);
  const auto dwell = read_view<std::int64_t>(dwell_ns, "dwell_ns", 1, "(n,)");
  check_axis(dwell_ns, "dwell_ns", 0, points.size() / 2);
  return {points, dwell};
}

void check_length(std::span<float> out, std::size_t samples) {
  if (out.size() != samples) {
    throw py::value_error("out holds " + std::to_string(out.size()) + " samples, expected " + std::to_string(samples));
  }
}

void bind_microscope(py::module_& module) {
  py::class_<Distortions>(module, "Distortions")
      .def(py::init<>())
      .def_property("jitter_nm", nullptr, [](Distortions& d, const Pair& v) { d.jitter_nm = vector(v); })
      .def_property("mains_nm", nullptr, [](Distortions& d, const Pair& v) { d.mains_nm = vector(v); })
      .def_property("scale", nullptr, [](Distortions& d, const Pair& v) { d.scale = vector(v); })
      .def_property("drift_nm_per_s", nullptr, [](Distortions& d, const Pair& v) { d.drift_nm_per_s = vector(v); })
      .def_property("jumps", nullptr,
                    [](Distortions& d, const std::vector<std::pair<std::int64_t, Pair>>& jumps) {
                      d.jumps.clear();
                      for (const auto& [at_ns, nm] : jumps) d.jumps.push_back({at_ns, vector(nm)});
                    })
      .def_property("settle", nullptr,
                    [](Distortions& d, const std::array<Pair, 2>& share_and_time) {
                      for (std::size_t k = 0; k < 2; ++k) {
                        d.settle_share[k] = share_and_time[k].first;
                        d.settle_ns[k] = share_and_time[k].second;
                      }
                    })
      .def_readwrite("slot_ns", &Distortions::slot_ns)
      .def_readwrite("mains_hz", &Distortions::mains_hz)
      .def_readwrite("shear", &Distortions::shear)
      .def_readwrite("flicker_rms", &Distortions::flicker_rms)
      .def_readwrite("flicker_ns", &Distortions::flicker_ns)
      .def_readwrite("contamination_per_s", &Distortions::contamination_per_s);
  py::class_<Detector>(module, "Detector")
      .def(py::init<>())
      .def_readwrite("noise", &Detector::noise)
      .def_readwrite("quantise", &Detector::quantise)
      .def_readwrite("excess_variance", &Detector::excess_variance)
      .def_readwrite("gain", &Detector::gain)
      .def_readwrite("offset", &Detector::offset)
      .def_readwrite("read_noise", &Detector::read_noise)
      .def_readwrite("afterglow_share", &Detector::afterglow_share)
      .def_readwrite("afterglow_ns", &Detector::afterglow_ns)
      .def_readwrite("saturation", &Detector::saturation);
  py::class_<Field>(module, "Field")
      .def(py::init([](const Pair& fov, const Pair& centre, double rotation) {
             return Field{vector(fov), vector(centre), rotation};
           }),
           py::arg("fov"), py::arg("centre"), py::arg("rotation"));
  py::class_<Raster>(module, "Raster")
      .def(py::init([](std::size_t rows, std::size_t cols, std::size_t discard_lines, std::int64_t dwell_ns,
                       std::int64_t flyback_ns, const Pair& centre, const Pair& size) {
             return Raster{rows, cols, discard_lines, dwell_ns, flyback_ns, vector(centre), vector(size)};
           }),
           py::arg("rows"), py::arg("cols"), py::arg("discard_lines"), py::arg("dwell_ns"), py::arg("flyback_ns"),
           py::arg("centre"), py::arg("size"));
  py::class_<Microscope>(module, "Microscope")
      .def(py::init([](const Specimen& specimen, const py::array& tables, double reach_nm, double focus_step_nm,
                       double defocus_nm, const Pair& slope, const Pair& centre, const Distortions& distortions,
                       const Detector& detector, std::uint64_t seed) {
             const auto view = read_view<float>(tables, "tables", 3, "(species, levels, steps + 2)");
             if (tables.shape(2) < 3)
               throw py::value_error("tables has no steps, expected (species, levels, steps + 2)");
             Optics optics;
             optics.tables.assign(view.begin(), view.end());
             optics.species = static_cast<std::size_t>(tables.shape(0));
             optics.levels = static_cast<std::size_t>(tables.shape(1));
             optics.steps = static_cast<std::size_t>(tables.shape(2)) - 2;
             optics.reach_nm = reach_nm;
             optics.focus_step_nm = focus_step_nm;
             optics.defocus_nm = defocus_nm;
             optics.slope = vector(slope);
             optics.centre = vector(centre);
             return Microscope(specimen, std::move(optics), distortions, detector, seed);
           }),
           py::arg("specimen"), py::arg("tables"), py::kw_only(), py::arg("reach_nm"), py::arg("focus_step_nm"),
           py::arg("defocus_nm"), py::arg("slope"), py::arg("centre"), py::arg("distortions"), py::arg("detector"),
           py::arg("seed"))
      .def(
          "raster",
          [](Microscope& self, const Raster& raster, const Field& field, std::uint64_t sequence, std::int64_t clock_ns,
             double electrons_per_ns, py::array& out) {
            const auto view = write_view<float>(out, "out", 2, "(rows, cols)");
            check_length(view, raster.rows * raster.cols);
            const py::gil_scoped_release unlocked;
            self.scan(raster, field, sequence, clock_ns, electrons_per_ns, view);
          },
          py::arg("raster"), py::arg("field"), py::arg("sequence"), py::arg("clock_ns"), py::arg("electrons_per_ns"),
          py::arg("out"))
      .def(
          "path",
          [](Microscope& self, const py::array& yx, const py::array& dwell_ns, const Field& field,
             std::uint64_t sequence, std::int64_t clock_ns, double electrons_per_ns, py::array& out) {
            const Path path = path_of(yx, dwell_ns);
            const auto view = write_view<float>(out, "out", 1, "(n,)");
            check_length(view, path.dwell_ns.size());
            const py::gil_scoped_release unlocked;
            self.scan(path, field, sequence, clock_ns, electrons_per_ns, view);
          },
          py::arg("yx"), py::arg("dwell_ns"), py::arg("field"), py::arg("sequence"), py::arg("clock_ns"),
          py::arg("electrons_per_ns"), py::arg("out"))
      .def(
          "raster_positions",
          [](Microscope& self, const Raster& raster, const Field& field, std::uint64_t sequence,
             std::int64_t clock_ns) { return self.positions(raster, field, sequence, clock_ns); },
          py::arg("raster"), py::arg("field"), py::arg("sequence"), py::arg("clock_ns"))
      .def(
          "path_positions",
          [](Microscope& self, const py::array& yx, const py::array& dwell_ns, const Field& field,
             std::uint64_t sequence,
             std::int64_t clock_ns) { return self.positions(path_of(yx, dwell_ns), field, sequence, clock_ns); },
          py::arg("yx"), py::arg("dwell_ns"), py::arg("field"), py::arg("sequence"), py::arg("clock_ns"));
}

}  // namespace

void bind_instrument(py::module_& module) {
  bind_specimen(module);
  bind_microscope(module);
}
