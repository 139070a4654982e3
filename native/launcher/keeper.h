#ifndef KEEPER_H
#define KEEPER_H

#include "plan.h"

/* The exit status of a program whose successor serves in its place. */
#define EXIT_REPLACED 75

/* Requests of the keeper to the broker, one byte each. */
#define ASK_RELOAD 'h'
#define ASK_REPLACE 'u'
#define TELL_REPLACED 's'
#define ASK_END 'q'
/* The broker's request to the keeper: 'r', then the words of a successor, each with its NUL. */
#define START_SUCCESSOR 'r'

/*
 * Forks, and returns in the child, which becomes the program. The parent keeps the process id that the world knows: it
 * waits for the program, starts its successors, and ends with the status of the last one.
 */
void keep_program(struct plan *plan);

#endif
