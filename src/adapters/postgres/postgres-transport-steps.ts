/**
 * Step n of the transport's tables leads from version n to n + 1; a step that was released never changes. `schema` is quoted.
 */
export const TRANSPORT_STEPS: readonly ((schema: string) => string)[] = []
