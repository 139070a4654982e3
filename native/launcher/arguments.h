#ifndef ARGUMENTS_H
#define ARGUMENTS_H

#include "plan.h"

void read_arguments(int argc, char **argv, struct plan *plan);

#endif
