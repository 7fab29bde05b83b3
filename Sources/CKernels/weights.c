#include "include/weights.h"
