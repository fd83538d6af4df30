# SPDX-License-Identifier: BSD-3-Clause
"""From frames to images: the frame gate, robust intensities, atoms, patches, where not to measure."""

from probewise.image.atoms import find_atoms as find_atoms
from probewise.image.atoms import label_atoms as label_atoms
from probewise.image.finder import AtomFinder as AtomFinder
from probewise.image.finder import AtomMaps as AtomMaps
from probewise.image.gate import FrameQuality as FrameQuality
from probewise.image.gate import gate as gate
from probewise.image.intensity import IntensityScale as IntensityScale
from probewise.image.intensity import normalise as normalise
from probewise.image.intensity import robust_scale as robust_scale
from probewise.image.intensity import site_means as site_means
from probewise.image.intensity import to_image as to_image
from probewise.image.masks import SurveyMasks as SurveyMasks
from probewise.image.masks import survey_masks as survey_masks
from probewise.image.network import network_input as network_input
from probewise.image.network import resample as resample
from probewise.image.patches import extract_patches as extract_patches
from probewise.image.refinement import PixelNoise as PixelNoise
from probewise.image.refinement import RefinedAtoms as RefinedAtoms
from probewise.image.refinement import estimate_noise as estimate_noise
from probewise.image.refinement import refine_atoms as refine_atoms
from probewise.image.segmenter import Segmenter as Segmenter
