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
          // No test waits for real time; a machine that is busy with others may still be slow.
          testTimeout: 30_000,
          include: ['test/**/*.test.ts'],
          exclude: ['test/**/*.int.test.ts'],
          typecheck: { enabled: true, include: ['test/**/*.test-d.ts'], tsconfig: './tsconfig.json', ignoreSourceErrors: true },
        },
      },
      {
        extends: true,
        test: {
          name: 'int',
          include: ['test/**/*.int.test.ts'],
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
