/** sun_path has 108 bytes, one of them for the NUL. */
export const SOCKET_PATH_MAX_BYTES = 107
