/* Prints a line of JSON in microseconds: processor time of bare system calls by purpose, and pauses. */
#ifndef FLOOR_H
#define FLOOR_H

void print_floor(void);

#endif
