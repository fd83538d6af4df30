# SPDX-License-Identifier: BSD-3-Clause
"""Frames to values: spectra of sliding windows, linear unmixing, lattice spacings, latent variables of patches."""

from probewise.descriptors.atom_workflow import AtomWorkflow as AtomWorkflow
from probewise.descriptors.basis import BasisReport as BasisReport
from probewise.descriptors.components import select_component as select_component
from probewise.descriptors.latent_workflow import LatentWorkflow as LatentWorkflow
from probewise.descriptors.latents import LatentEncoder as LatentEncoder
from probewise.descriptors.latents import angle_terms as angle_terms
from probewise.descriptors.peaks import SpectrumPeaks as SpectrumPeaks
from probewise.descriptors.peaks import spectrum_peaks as spectrum_peaks
from probewise.descriptors.picture import ask_choices as ask_choices
from probewise.descriptors.picture import component_picture as component_picture
from probewise.descriptors.spectra import sliding_spectra as sliding_spectra
from probewise.descriptors.spectra import spectrum_frequencies as spectrum_frequencies
from probewise.descriptors.spectra import window_centres as window_centres
from probewise.descriptors.unmixing import Unmixing as Unmixing
from probewise.descriptors.workflow import LinearWorkflow as LinearWorkflow
