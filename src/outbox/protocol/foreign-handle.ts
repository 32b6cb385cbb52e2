// Handles of libraries that are neither imported nor named in our types: what they are is read off their members.

/** A method of somebody else's object, bound to it. */
export type ForeignMethod = (...values: readonly unknown[]) => unknown

/** An object or a function that came from outside. */
export type ForeignObject = object

/** True for what can have members of its own. */
export function isForeignObject(handle: unknown): handle is ForeignObject {
  return (typeof handle === 'object' && handle !== null) || typeof handle === 'function'
}

/** A member, also an inherited one; undefined where there is none. */
export function foreignField(handle: unknown, name: string): unknown {
  return isForeignObject(handle) ? Reflect.get(handle, name) : undefined
}

/** A method; undefined where the member is none. */
export function foreignMethod(handle: unknown, name: string): ForeignMethod | undefined {
  const method = foreignField(handle, name)
  return typeof method === 'function' ? (...values) => Reflect.apply(method, handle, values) : undefined
}

/** True where all of these are methods. */
export function hasForeignMethods(handle: unknown, ...names: readonly string[]): handle is ForeignObject {
  return names.every((name) => typeof foreignField(handle, name) === 'function')
}
