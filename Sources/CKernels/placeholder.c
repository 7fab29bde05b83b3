#include "../include/ckernels.h"
