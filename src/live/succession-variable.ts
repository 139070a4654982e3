/** Names the descriptor of the socket to the process that serves, for a process that is to be its successor. */
export const SUCCESSION_VARIABLE = 'VIRTIOFSD_TS_SUCCESSION_FD'
