/* Prints, as a line of JSON, the microseconds of processor time of bare system calls by what they would serve. */
#ifndef FLOOR_H
#define FLOOR_H

void print_floor(void);

#endif
