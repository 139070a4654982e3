/* Prints, as a line of JSON, microseconds: of processor time of bare system calls by what they would serve, and of pauses. */
#ifndef FLOOR_H
#define FLOOR_H

void print_floor(void);

#endif
