/** The program of shares on the main thread: a thread of their own would take more memory, and longer to start. */
export { Neighbours } from 'vhost-user-ts'
export { runShareFromNode } from './share-program.js'
