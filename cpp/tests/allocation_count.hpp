// SPDX-License-Identifier: BSD-3-Clause
#pragma once

/// How often the program has called operator new so far.
long allocation_count() noexcept;
