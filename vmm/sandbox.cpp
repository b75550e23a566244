#include "vmm/sandbox.hpp"
