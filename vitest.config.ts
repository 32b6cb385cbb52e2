import type { ViteUserConfig } from 'vitest/config'

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 22 || (major === 22 && minor < 13)) {
  // A stack trace would hide the one thing to know.
  process.stderr.write(
    `Trunkline's tests need Node 22.13 or newer, and this is ${process.versions.node} (${process.execPath}).\n` +
      'Run them with npx or npm run, which use the Node that npm ci installed here: npx vitest run --project unit\n',
  )
  process.exit(1)
}

const INT_TESTS = ['test/**/*.int.test.ts']
/**
 * Unit tests that need a process of their own: those that put timers of their own in the place of the machine's, in which whatever another
 * file left behind would then run for days, and those that run planted bugs, which leave things behind. test/tidy looks for others.
 */
export const ALONE: readonly string[] = ['test/core/clock.test.ts', 'test/resilience/*.property.test.ts', 'test/conformance/*mutants.test.ts', 'test/conformance/absence.test.ts']
/** No test waits for real time; a machine that is busy with others may still be slow. */
const UNIT = { include: ['test/**/*.test.ts'], testTimeout: 30_000, maxWorkers: '100%' }

const config: ViteUserConfig = {
  resolve: {
    // What examples import as a user does; here it is the source, so that no stale build is tested.
    alias: [
      { find: /^trunkline$/, replacement: `${import.meta.dirname}/src/index.ts` },
      { find: /^trunkline\/(testing|gateway|discovery)$/, replacement: `${import.meta.dirname}/src/$1/index.ts` },
      { find: /^trunkline\/(memory|eventstoredb|sqlite|nats|postgres|rabbitmq)$/, replacement: `${import.meta.dirname}/src/adapters/$1/index.ts` },
    ],
  },
  test: {
    watch: false,
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          ...UNIT,
          // Loading the library for each file took longer than its tests, and the library has no state of its own between its values.
          isolate: false,
          exclude: [...INT_TESTS, ...ALONE],
          typecheck: { enabled: true, include: ['test/**/*.test-d.ts'], tsconfig: './tsconfig.json', ignoreSourceErrors: true },
        },
      },
      {
        extends: true,
        test: { name: 'unit-alone', ...UNIT, include: [...ALONE] },
      },
      {
        extends: true,
        test: {
          name: 'int',
          include: INT_TESTS,
          testTimeout: 60_000,
          hookTimeout: 120_000,
          // Each file may run a broker of its own beside its test process.
          maxWorkers: 2,
        },
      },
    ],
  },
}

export default config
