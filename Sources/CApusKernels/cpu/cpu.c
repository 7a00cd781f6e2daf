#include "apus_cpu.h"
