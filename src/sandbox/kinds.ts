/** What a process may be confined to: its own root and namespaces, its own root, or nothing. */
export const sandboxes = ['namespace', 'chroot', 'none'] as const
export type Sandbox = (typeof sandboxes)[number]

/** What meets a system call that is not allowed. */
export const seccompActions = ['none', 'log', 'trap', 'kill'] as const
export type SeccompAction = (typeof seccompActions)[number]
