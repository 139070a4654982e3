/** Returns true if the table has an entry of this name. */
export function hasName<T extends object>(table: T, name: PropertyKey): name is keyof T {
  return Object.hasOwn(table, name)
}
